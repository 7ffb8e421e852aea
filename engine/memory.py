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

Of a run on a GPU the GPU's memory is meant. The batches that data layers keep ready wait on the
host, and do not count; the scratch that convolutions share does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.backend import Device, Ops
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import NetError, OutOfMemoryError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.units import size
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
    ops: Ops
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

    file: that the first layer comes from, '' where there is none.  name: with the phase.
    data_layer: the first layer that gives samples, None where there is none.  batch: how many it
    gives at a time.
    """

    file: str
    name: str
    uses: list[Use]
    data_layer: Layer | None
    batch: int


class Memory:
    """The memory of one run: what its nets are predicted to take, and how much there is.

    limit: bytes there are; by default what the device has free now, without one all that the
    machine has.  history: the arrays that the solver keeps of each parameter.  device: that the
    run is on; None for the CPU.

    Nets are added one after the other, each before it takes memory.
    """

    def __init__(
        self, limit: int | None = None, history: int = 0, device: Device | None = None
    ) -> None:
        if limit is None:
            limit = memory_bytes() if device is None else device.memory()[0]
        self.limit = limit
        self.history = history
        self.nets: list[NetUse] = []
        self._scratch = 0
        self._on_device = device is not None
        self._larger = "a GPU" if self._on_device else "a machine"

    @property
    def total(self) -> int:
        """The bytes predicted for all nets so far."""
        return sum(use.bytes for net in self.nets for use in net.uses) + self._scratch

    def add(self, net: BuiltNet) -> None:
        """Takes a net into the sum. Raises: NetError where there is too little memory."""
        # the parameters of a later net are those of the first where layers have one name
        known = {use.layer for other in self.nets for use in other.uses if use.parameter}
        uses = [
            use
            for use in predicted(net, self.history)
            if not (use.parameter and use.layer in known)
            and not (use.kind == AHEAD and self._on_device)
        ]
        self._scratch = net.ops.scratch_bytes  # of the ops of all nets
        data_layer, batch = first_batch(net)
        file = net.layers[0].param.source_file if net.layers else ""
        name = f"net '{net.name}' ({Phase.Name(net.phase)})"
        self.nets.append(NetUse(file, name, uses, data_layer, batch))
        if self.limit is not None and self.total > self.limit:
            self._refuse(self.limit)

    def log(self) -> None:
        """Logs what is predicted; warns where it is nearly all that there is."""
        there = "" if self.limit is None else f" of {size(self.limit)}"
        if self._on_device:
            there += " free on the GPU"
        log.info(f"Memory predicted: {size(self.total)}{there} ({self._parts()})")
        if self.limit is not None and MOST_TAKEN * self.total > self.limit:
            log.warning(
                f"Memory may not suffice: {size(self.total)}{there} is predicted, "
                f"and a run may take {MOST_TAKEN:g} times that. A smaller batch_size takes less."
            )

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Work of the run's nets. Where the device runs out of memory, the error then tells what
        was predicted, what is large, and what would fit. Raises: OutOfMemoryError."""
        try:
            yield
        except OutOfMemoryError as error:
            if error.explanation or not self.nets:  # of a net within, or before there is one
                raise
            raise OutOfMemoryError(
                error.where, error.asked, error.free, self._explanation()
            ) from error

    def _explanation(self) -> str:
        """What a run takes that the device has no memory for, and what would fit."""
        uses = [use for net in self.nets for use in net.uses]
        free = "" if self.limit is None else f", of {size(self.limit)} that were free before it"
        return (
            f"The run was predicted to take {size(self.total)}{free} ({self._parts()}); what "
            "layers keep besides is not in that. The largest blobs are "
            f"{_largest(uses)}. {self._smaller_batch()}"
        )

    def _smaller_batch(self) -> str:
        """What makes a run fit that did not, whatever was predicted."""
        net = max(self.nets, key=lambda one: _sum(use for use in one.uses if use.per_sample))
        other = f"end what else uses the device, or use {self._larger} with more memory."
        if net.data_layer is None or net.batch == 1:
            return f"Use smaller images or fewer channels, {other}"
        safe = net.batch // 2  # the prediction was wrong: it alone tells too little
        if self.limit is not None:
            safe = max(1, min(safe, self._fitting(net, self.limit / MOST_TAKEN)))
        return (
            f"Reduce the batch size of layer '{net.data_layer.name}' of {net.name} from "
            f"{net.batch} to {safe} to be safe, {other}"
        )

    def _parts(self) -> str:
        """`data 1.0 KiB, parameters 2.0 KiB`: what is predicted, by its kind."""
        kinds: dict[str, int] = {}
        for net in self.nets:
            for use in net.uses:
                kinds[use.kind] = kinds.get(use.kind, 0) + use.bytes
        if self._scratch:
            kinds["scratch of convolutions"] = self._scratch
        return ", ".join(f"{kind} {size(nbytes)}" for kind, nbytes in kinds.items()) or "nothing"

    def _refuse(self, limit: int) -> None:
        net = self.nets[-1]
        others = self.total - _sum(net.uses)
        beside = f" beside {size(others)} for the run's other nets" if others else ""
        there = "what is free on the GPU" if self._on_device else "all that there is here"
        where = f"{net.file}: {net.name}" if net.file else net.name
        raise NetError(
            f"{where}: predicted memory: expected at most {size(limit)}, {there}, "
            f"got {size(_sum(net.uses))}{beside}. The largest blobs are "
            f"{_largest(net.uses)}. {self._remedy(limit)}"
        )

    def _remedy(self, limit: int) -> str:
        """What makes the last net fit."""
        net = self.nets[-1]
        growing = _sum(use for use in net.uses if use.per_sample)
        if self._fitting(net, limit) < 1 or net.data_layer is None:
            ahead = [use for use in net.uses if use.kind == AHEAD]
            if 2 * _sum(ahead) > self.total:
                return f"Reduce data_param.prefetch of layer '{ahead[0].layer}'."
            parameters = _sum(use for use in net.uses if use.parameter)
            if parameters > growing / net.batch:
                return (
                    f"The layers' parameters take {size(parameters)}: make the largest smaller "
                    f"(num_output), or use {self._larger} with more memory."
                )
            return (
                "Not even one sample at a time fits: use smaller images or fewer channels, or "
                f"{self._larger} with more memory."
            )
        fitting, safe = (max(1, self._fitting(net, share)) for share in (limit, limit / MOST_TAKEN))
        return (
            f"Reduce the batch size of layer '{net.data_layer.name}' from {net.batch} to {fitting} "
            f"at the most, {safe} to be safe, or use {self._larger} with more memory."
        )

    def _fitting(self, net: NetUse, limit: float) -> int:
        """The samples at a time with which a net makes the run take `limit` bytes; below 1 where
        none does."""
        growing = _sum(use for use in net.uses if use.per_sample)
        if not growing:
            return 0 if self.total > limit else net.batch
        return int((limit - (self.total - growing)) // (growing / net.batch))


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
