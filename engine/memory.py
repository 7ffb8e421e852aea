"""What a run is predicted to take of the machine's memory, and the refusal of what cannot fit.

Counted are, in the order of the log line: the data of all blobs (what is the same memory counts
once) and the batches that data layers keep ready; in phase TRAIN the gradients of the blobs that
backward fills; the learnable parameters once for all nets of a run; in phase TRAIN their gradients
and the solver's history where they learn.

Not counted are the program itself (50 MiB), what ops keep besides (im2col columns, masks,
probabilities: up to 30 MiB in small nets), oneDNN's copies in other layouts, and what set-up takes
in passing. Values that take turns in one memory count as many as there are at once. So a run
needs what is predicted at least, and only what cannot fit is refused. Measured on LeNet,
CIFAR10-quick, CaffeNet and a small residual net, of 150 MiB and more, a run takes 1.1 to 1.2 times
as much on numpy, 1.2 to 1.8 times on oneDNN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.machine import memory_bytes
from caffepy.engine.samples import first_batch
from caffepy.proto.caffe_pb2 import TRAIN, Phase

MOST_TAKEN = 1.8  # what a run takes at most, over what is predicted
AHEAD = "batches made ahead"
LARGEST = 5  # blobs that a refusal lists


class BuiltNet(Protocol):
    """What a prediction reads of a net."""

    name: str
    phase: int
    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]
    bottom_needs_backward: list[list[bool]]
    passing_data: list[list[Value]]
    passing_diffs: list[list[Value]]


@dataclass(frozen=True)
class Use:
    """Memory of one kind that a blob takes.

    index, layer: of the layer that fills it, or owns it.
    per_sample: whether it grows with the batch.  parameter: whether it is the layer's own.
    """

    kind: str
    index: int
    layer: str
    blob: str
    shape: Shape
    bytes: int
    per_sample: bool = False
    parameter: bool = False


@dataclass(frozen=True)
class NetUse:
    """What one net takes.

    data_layer: the first layer that gives samples, None where there is none.  batch: how many it
    gives at a time.
    """

    title: str
    uses: list[Use]
    data_layer: Layer | None
    batch: int


class Memory:
    """The memory of one run: what its nets are predicted to take, and how much there is.

    limit: bytes there are; the machine's by default.  history: the arrays that the solver keeps of
    each parameter.

    Nets are added one after the other, each before it takes memory.
    """

    def __init__(self, limit: int | None = None, history: int = 0) -> None:
        self.limit = memory_bytes() if limit is None else limit
        self.history = history
        self.nets: list[NetUse] = []

    @property
    def total(self) -> int:
        """The bytes predicted for all nets so far."""
        return sum(use.bytes for net in self.nets for use in net.uses)

    def add(self, net: BuiltNet) -> None:
        """Takes a net into the sum. Raises: NetError where the machine has too little memory."""
        # the parameters of a later net are those of the first where layers have one name
        known = {use.layer for other in self.nets for use in other.uses if use.parameter}
        uses = [
            use
            for use in predicted(net, self.history)
            if not (use.parameter and use.layer in known)
        ]
        data_layer, batch = first_batch(net)
        files = [layer.param.source_file for layer in net.layers[:1]]
        title = ": ".join([*filter(None, files), f"net '{net.name}' ({Phase.Name(net.phase)})"])
        self.nets.append(NetUse(title, uses, data_layer, batch))
        if self.limit is not None and self.total > self.limit:
            self._refuse(self.limit)

    def log(self) -> None:
        """Logs what is predicted; warns where it is nearly all that there is."""
        kinds: dict[str, int] = {}
        for net in self.nets:
            for use in net.uses:
                kinds[use.kind] = kinds.get(use.kind, 0) + use.bytes
        parts = ", ".join(f"{kind} {size(nbytes)}" for kind, nbytes in kinds.items())
        there = "" if self.limit is None else f" of {size(self.limit)}"
        log.info(f"Memory predicted: {size(self.total)}{there} ({parts or 'nothing'})")
        if self.limit is not None and MOST_TAKEN * self.total > self.limit:
            log.warning(
                f"Memory may not suffice: {size(self.total)} of {size(self.limit)} is predicted, "
                f"and a run may take {MOST_TAKEN:g} times that. A smaller batch_size takes less."
            )

    def _refuse(self, limit: int) -> None:
        net = self.nets[-1]
        others = self.total - _sum(net.uses)
        beside = f" beside {size(others)} for the run's other nets" if others else ""
        raise NetError(
            f"{net.title}: predicted memory: expected at most {size(limit)}, all that there is "
            f"here, got {size(_sum(net.uses))}{beside}. The largest blobs are "
            f"{_largest(net.uses)}. {self._remedy(limit)}"
        )

    def _remedy(self, limit: int) -> str:
        """What makes the last net fit."""
        net = self.nets[-1]
        growing = _sum(use for use in net.uses if use.per_sample)
        fixed = self.total - growing
        if fixed + growing / net.batch > limit or net.data_layer is None:
            ahead = [use for use in net.uses if use.kind == AHEAD]
            if 2 * _sum(ahead) > self.total:
                return f"Reduce data_param.prefetch of layer '{ahead[0].layer}'."
            parameters = _sum(use for use in net.uses if use.parameter)
            if parameters > growing / net.batch:
                return (
                    f"The layers' parameters take {size(parameters)}: make the largest smaller "
                    "(num_output), or use a machine with more memory."
                )
            return (
                "Not even one sample at a time fits: use smaller images or fewer channels, or a "
                "machine with more memory."
            )
        fitting, safe = (
            max(1, int((bytes_ - fixed) // (growing / net.batch)))
            for bytes_ in (limit, limit / MOST_TAKEN)
        )
        return (
            f"Reduce the batch size of layer '{net.data_layer.name}' from {net.batch} to {fitting} "
            f"at the most, {safe} to be safe, or use a machine with more memory."
        )


def size(nbytes: float) -> str:
    """`1.5 GiB`"""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while nbytes >= 1024 and len(units) > 1:
        nbytes /= 1024
        del units[0]
    return f"{nbytes:.{0 if units[0] == 'bytes' else 1}f} {units[0]}"


def predicted(net: BuiltNet, history: int = 0) -> Iterator[Use]:
    """All that a net takes. history: the arrays that a solver keeps of each parameter."""
    training = net.phase == TRAIN
    _, batch = first_batch(net)
    seen: set[int] = set()

    def of(kind: str, index: int, blob: Blob, value: Value) -> Iterator[Use]:
        if value.storage_id not in seen:
            seen.add(value.storage_id)
            growing = bool(value.shape) and value.shape[0] % batch == 0
            nbytes = value.count * value.dtype.itemsize
            yield Use(kind, index, net.layers[index].name, blob.name, value.shape, nbytes, growing)

    others = _not_at_once(net)
    for index, (layer, tops) in enumerate(zip(net.layers, net.tops, strict=True)):
        for blob in tops:
            if blob.data.storage_id in others:
                continue
            for use in of("data", index, blob, blob.data):
                yield use
                if layer.batches_ahead:
                    nbytes = layer.batches_ahead * use.bytes
                    yield replace(use, kind=AHEAD, bytes=nbytes)
    if training:
        for index, blob in _gradients(net):
            yield from of("gradients", index, blob, blob.diff)
    for index, layer in enumerate(net.layers):
        for blob, learns in zip(layer.blobs, layer.param_propagate_down, strict=True):
            if blob.data.storage_id in seen:
                continue
            seen.add(blob.data.storage_id)
            nbytes = blob.count * blob.data.dtype.itemsize
            kinds = {"parameters": 1}
            if training and learns:
                kinds |= {"their gradients": 1, "history": history}
            for kind, times in kinds.items():
                if times:
                    taken = times * nbytes
                    yield Use(kind, index, layer.name, blob.name, blob.shape, taken, parameter=True)


def _gradients(net: BuiltNet) -> list[tuple[int, Blob]]:
    """The blobs whose gradients are there at the same time, when that is most, and the last layer
    that fills each one."""
    filled: dict[int, tuple[int, Blob]] = {}
    for index, (bottoms, needs) in enumerate(
        zip(net.bottoms, net.bottom_needs_backward, strict=True)
    ):
        for blob, needed in zip(bottoms, needs, strict=True):
            if needed:
                filled[blob.diff.storage_id] = index, blob
    # backward runs down through the layers
    spans = {
        diff.storage_id: (index, filled[diff.storage_id][0], diff.count)
        for index, group in enumerate(net.passing_diffs)
        for diff in group
        if diff.storage_id in filled
    }
    counted = _busiest(spans, len(net.layers))
    return [one for key, one in filled.items() if key not in spans or key in counted]


def _not_at_once(net: BuiltNet) -> set[int]:
    """The data that are given up, or not there yet, when most of them are there."""
    made: dict[int, int] = {}
    for index, tops in enumerate(net.tops):
        for blob in tops:
            made.setdefault(blob.data.storage_id, index)
    spans = {
        data.storage_id: (made[data.storage_id], index, data.count)
        for index, group in enumerate(net.passing_data)
        for data in group
    }
    return spans.keys() - _busiest(spans, len(net.layers))


def _busiest(spans: Mapping[int, tuple[int, int, int]], layers: int) -> set[int]:
    """The values that are there at the same time, when that is most. spans: for each the first and
    the last layer that needs it, and its elements."""
    alive = [0] * (layers + 1)
    for first, last, count in spans.values():
        alive[first] += count
        alive[last + 1] -= count
    sums = list(accumulate(alive))
    busiest = sums.index(max(sums))
    return {key for key, (first, last, _) in spans.items() if first <= busiest <= last}


def _largest(uses: Iterable[Use]) -> str:
    """`'conv1' of layer 'conv1' (64, 96, 55, 55) with 141.8 MiB, ...`: the largest blobs."""
    blobs: dict[tuple[str, Shape], list[Use]] = {}
    for use in uses:
        blobs.setdefault((use.blob, use.shape), []).append(use)
    ordered = sorted(blobs.values(), key=_sum, reverse=True)[:LARGEST]
    return ", ".join(
        f"blob '{one[0].blob}' of layer '{one[0].layer}' {one[0].shape} with {size(_sum(one))}"
        for one in ordered
    )


def _sum(uses: Iterable[Use]) -> int:
    return sum(use.bytes for use in uses)
