"""Where nan and inf in a net come from.

Blobs hold what the last pass left in them. Of a blob that layers changed in place, this is what the
last of them wrote: then its writers, and no other layers, are run once more, one by one. Layers
that read data are never run again, so that no batch is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net


@dataclass(frozen=True)
class Census:
    """How many of `count` numbers are nan or inf; first: the index of the first of these."""

    nans: int
    infs: int
    count: int
    first: tuple[int, ...]

    def __str__(self) -> str:
        kinds = [f"{self.nans} nan"] * bool(self.nans) + [f"{self.infs} inf"] * bool(self.infs)
        if self.count == 1:
            return kinds[0].removeprefix("1 ")
        place = self.first[0] if len(self.first) == 1 else self.first
        return f"{' and '.join(kinds)} among {self.count}, the first at {place}"


@dataclass(frozen=True)
class Finding:
    """The first bad numbers of a pass.

    layer: whose they are.  what: `top 'x'`, `parameter 0`, `gradient of bottom 'x'`.
    helpers: the layers that changed the blob in place and may be the ones that made them.
    source: of which sample of a file they are.  is_input: the layer has no bottoms.
    parameter: its index, where it is one.  largest: the greatest finite magnitude in the layer's
    bottoms and parameters.
    """

    layer: Layer
    what: str
    census: Census
    helpers: tuple[Layer, ...] = ()
    source: str = ""
    is_input: bool = False
    parameter: int | None = None
    largest: float = 0.0


def is_finite(value: Value) -> bool:
    """Whether a value holds neither nan nor inf."""
    if not value.allocated:
        return True
    home = value.home
    on_host = home.space is None
    elements = home.elements(value.read(home)) if on_host else value.content().reshape(-1)
    with np.errstate(all="ignore"):
        # large numbers overflow too: these are looked at one by one
        return bool(np.isfinite(np.dot(elements, elements)) or np.isfinite(elements).all())


def take_census(value: Value) -> Census | None:
    """The nan and inf of a value; None where there are none."""
    if is_finite(value):
        return None
    array = value.read()
    nans, infs = np.isnan(array), np.isinf(array)
    first = tuple(int(place) for place in np.argwhere(nans | infs)[0])
    return Census(int(np.count_nonzero(nans)), int(np.count_nonzero(infs)), array.size, first)


def losses(net: Net) -> list[Blob]:
    """The tops that count for the loss of a net."""
    return [
        top
        for layer, tops in zip(net.layers, net.tops, strict=True)
        for index, top in enumerate(tops)
        if layer.loss_weight(index)
    ]


def find_in_forward(net: Net, results: Iterable[Blob]) -> Finding | None:
    """The first bad numbers of the last forward pass that lead to `results`, blobs of the net: a
    layer's parameter, or its top where its parameters and bottoms are good."""
    results = list(results)
    if results and net.passing_data:
        with _parameters_kept(net.layers):
            net.repeat_forward()
    for index in _leading_to(net, results):
        for top_index, blob in enumerate(net.tops[index]):
            census = take_census(blob.data)
            if census is not None:
                return _among_writers(net, index, top_index, census)
    return None


def find_in_backward(net: Net) -> Finding | None:
    """The first bad gradient of the last backward pass, as far as diffs still hold it."""
    for index in reversed(range(len(net.layers))):
        layer = net.layers[index]
        if not net.layer_needs_backward[index]:
            continue
        for bottom_index, blob in enumerate(net.bottoms[index]):
            needed = net.bottom_needs_backward[index][bottom_index]
            census = take_census(blob.diff) if needed else None
            if census is not None:
                what = f"gradient of bottom '{blob.name}'"
                below = [at for at in reversed(range(index)) if _in_place(net, at, blob.diff)]
                helpers = tuple(net.layers[at] for at in below)
                return Finding(layer, what, census, helpers, largest=_largest(net, index))
        for place in range(len(layer.blobs)):
            diff = layer.learning_diff(place)
            census = take_census(diff) if diff is not None else None
            if census is not None:
                what = f"gradient of parameter {place}"
                return Finding(layer, what, census, largest=_largest(net, index))
    return None


def find_in_parameters(layers: Sequence[Layer], besides: Collection[Blob] = ()) -> Finding | None:
    """The first parameter of the layers that holds nan or inf, `besides` left out."""
    for layer in layers:
        for index, blob in enumerate(layer.blobs):
            census = None if blob in besides else take_census(blob.data)
            if census is not None:
                return Finding(layer, f"parameter {index}", census, parameter=index)
    return None


def _leading_to(net: Net, results: Iterable[Blob]) -> list[int]:
    """The layers that have a part in the results, in order."""
    wanted = {id(blob) for blob in results}
    found = []
    for index in reversed(range(len(net.layers))):
        if any(id(top) in wanted for top in net.tops[index]):
            found.append(index)
            wanted |= {id(blob) for blob in net.bottoms[index]}
    return found[::-1]


def _among_writers(net: Net, index: int, top_index: int, census: Census) -> Finding:
    """Who made the first bad top, as the pass has left it: layer `index`, or a later one that
    changed it in place."""
    data = net.tops[index][top_index].data
    later = [at for at in range(index + 1, len(net.layers)) if _in_place(net, at, data)]
    writers, helpers = [index, *later], tuple(net.layers[at] for at in later)
    # not one that remembers: its pass has moved what it began with
    repeatable = net.bottoms[index] and all(
        net.layers[at].records and not net.layers[at].state() for at in writers
    )
    if not helpers or not repeatable:
        return _finding(net, index, top_index, census, helpers)
    found: tuple[int, int, Census] | None = None
    with _parameters_kept(net.layers[at] for at in writers):
        for writer in writers:  # all of them: in the end the blob is as it was
            net.repeat_layer(writer)
            for place, blob in enumerate(net.tops[writer]):
                census_now = take_census(blob.data) if blob.data.shares_memory_with(data) else None
                if census_now is not None:
                    found = found or (writer, place, census_now)
    return _finding(net, *found) if found else _finding(net, index, top_index, census, helpers)


def _finding(
    net: Net, index: int, top_index: int, census: Census, helpers: tuple[Layer, ...] = ()
) -> Finding:
    """What is bad in layer `index`, one top of which is the first bad one."""
    layer, top = net.layers[index], net.tops[index][top_index]
    parameter = find_in_parameters([layer])
    if parameter is not None:
        return parameter
    is_input = not net.bottoms[index]
    sample = census.first[0] if census.first else 0
    source = layer.describe_sample(top_index, sample) if is_input else ""
    what, largest = f"top '{top.name}'", _largest(net, index)
    return Finding(layer, what, census, helpers, source, is_input, None, largest)


def _in_place(net: Net, index: int, value: Value) -> bool:
    """Whether a layer changes a value, its bottom's data or diff, in place."""
    return any(
        top is bottom and (top.data.shares_memory_with(value) or top.diff.shares_memory_with(value))
        for top in net.tops[index]
        for bottom in net.bottoms[index]
    )


@contextlib.contextmanager
def _parameters_kept(layers: Iterable[Layer]) -> Iterator[None]:
    """Whatever is run inside, the layers' parameters (statistics may be among them) stay the
    same."""
    values = [blob.data for layer in layers for blob in layer.blobs]
    copies = [(value, value.version, value.read().copy()) for value in values]
    try:
        yield
    finally:
        for value, version, content in copies:
            if value.version != version:
                value.write()[...] = content


def _largest(net: Net, index: int) -> float:
    """The greatest finite magnitude in a layer's bottoms and parameters."""
    largest = 0.0
    for blob in (*net.bottoms[index], *net.layers[index].blobs):
        if blob.data.allocated:
            array = np.abs(blob.data.read())
            largest = max(largest, float(array.max(initial=0.0, where=np.isfinite(array))))
    return largest
