"""Net: layers wired by their blobs, run forward and backward."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from caffepy.engine import debug_info, filler, samples
from caffepy.engine.assembly import Assembly, overwritten
from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob, BlobShapeError
from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.core.layer import Layer, LayerContext
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.random import Counter
from caffepy.engine.core.record import Step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.hooks import Hooks
from caffepy.engine.in_place import changes_later, warn_of_changes_in_place
from caffepy.engine.memory import Memory
from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import share_between_nets
from caffepy.engine.passes import lifetimes
from caffepy.engine.passes.checks import check_keeps_data, check_ran, check_range
from caffepy.engine.passes.program import Observer
from caffepy.engine.passes.whole import JointPass, WholePasses
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter, NetState, Phase
from caffepy.proto.dialects import check_dialect
from caffepy.proto.filter import filter_net
from caffepy.proto.splits import insert_splits
from caffepy.proto.upgrade import upgrade_net


class Net:
    """A net of layers in one phase.

    param: a NetParameter of any age; it is upgraded, filtered by `state` (phase, level, stages) and
    given Split layers.  ops: the backend.  registry: the layer classes by type.  seed: what all
    random numbers follow from.  folders: where relative files are looked for.  memory: of the run
    that the net is part of; that of the machine or its GPU by default.  keep: whether the content
    of all blobs can be read after a pass; else in phase TRAIN most gradients, in phase TEST most
    data take turns in the same memory, and read as zeros; then the latter has no backward pass.
    data_threads: that make the batches of a data layer; None: as many as suit the backend.
    dialect: the fork that the prototxt is of, as "ssd": what types mean that have several meanings,
    where the prototxt does not show which.

    Attributes: layers, blobs (by name, in order of appearance), bottoms and tops (per layer),
    layer_needs_backward, bottom_needs_backward, inputs and outputs (blob names, Caffe's order),
    parameters, memory_bytes (of all data, as Caffe counts it), loss (scalar Value), definition
    (param upgraded and filtered, without Splits), hooks, observer (runs the steps of a recorded
    pass where it is set), ran (the layers that have run forward), passing_diffs (per layer, the
    diffs of tops that are given up once it has run backward; empty where all are kept),
    passing_data (per layer, the data that are given up once it has run forward; likewise).
    """

    def __init__(
        self,
        param: NetParameter,
        state: NetState,
        *,
        ops: Ops,
        registry: Mapping[str, type[Layer]],
        seed: int = 0,
        rank: int = 0,
        folders: tuple[Path, ...] = (Path(),),
        memory: Memory | None = None,
        keep: bool = True,
        data_threads: int | None = None,
        dialect: str = "",
    ) -> None:
        upgraded = upgrade_net(param)
        filtered = filter_net(upgraded, state)
        filtered.state.CopyFrom(state)
        log.info("Initializing net from parameters: \n" + text.write(filtered).rstrip("\n"))
        self.definition = filtered
        self.param = insert_splits(filtered, upgraded.layer)
        self.name: str = param.name
        self.phase: int = state.phase
        self.ops = ops
        self.epoch = Epoch()
        self.passes = Counter()
        self.context = LayerContext(
            self.phase, ops, filler.fill, seed, rank, folders, self.epoch, self.passes,
            data_threads=data_threads, dialect=check_dialect(dialect),
        )  # fmt: skip
        self.context.fills = []
        self.loss = Value((), ops.dtype)
        self.debug_info: bool = self.param.debug_info
        self.ran: set[int] = set()
        self.hooks = Hooks()
        self.observer: Observer | None = None

        made = Assembly(self.context, registry)
        self.layers, self.blobs = made.layers, made.blobs
        self.bottoms, self.tops, self.inputs = made.bottoms, made.tops, made.inputs
        self.parameters, self._losses = made.parameters, made.losses
        try:
            for layer_param in self.param.layer:
                made.add(layer_param)
            needs = made.decide_backward(self.param.force_backward)
            self.layer_needs_backward, self.bottom_needs_backward = needs.layers, needs.bottoms
            self.memory_bytes = made.memory_bytes
            made.let_shapes_vary()
            outputs = [made.blobs[name] for name in made.unread]
            self.passing_data, self.passing_diffs = self._let_values_pass(keep, outputs)
            warn_of_changes_in_place(self)
            for top in self._losses:
                if changes_later(self, top.place, top.blob):
                    top.kept = Value((), ops.dtype)
            self.memory = memory or Memory(device=ops.device)
            self.memory.add(self)
            for fill in self.context.fills:
                fill()
        except BaseException:  # its databases and threads do not outlive a net that is refused
            self.close()
            raise
        self.context.fills = None
        self._top_shapes = [_shapes(tops) for tops in self.tops]
        self._param_shapes = [_shapes(layer.blobs) for layer in self.layers]
        self._set_loss_diffs()
        self._at_risk = overwritten(self._losses, self.bottoms)
        total = functools.partial(self._add_losses, 0, len(self.layers) - 1)
        folds = self.phase == Phase.TEST  # until a backward pass
        self._whole = WholePasses(self, self._forward_layer, self._backward_layer, total, folds)
        self.outputs: list[str] = sorted(made.unread)
        for name in self.outputs:
            log.info(f"This network produces output {name}")
        log.info("Network initialization done.")

    @property
    def loss_weights(self) -> dict[str, float]:
        """The loss weights other than 0, by blob name."""
        return {top.blob.name: top.weight for top in self._losses}

    # ---- running

    def forward(self, start: int = 0, end: int | None = None, *, look: bool = True) -> None:
        """Runs the layers from index `start` to `end`, both included; the weighted sum of the
        losses among them is then in `loss`.

        look: end with a look at what a GPU found wrong; else somebody looks later, and calls go on
        before the device is done.
        """
        last = len(self.layers) - 1
        end = last if end is None else end
        check_range(self.layers, "forward", start, end)
        with self._forward_pass():
            self._forward(start, end)
            if look:
                self.ops.check()

    def _forward(self, start: int, end: int) -> None:
        last = len(self.layers) - 1
        if (start, end) != (0, last) or self.debug_info or self.hooks:
            for index in self.hooks.around_forward(range(start, end + 1)):
                self._forward_layer(index)
                if self.debug_info:
                    debug_info.log_forward(self.layers[index], self.tops[index])
            self._add_losses(start, end)
            return
        self._whole.forward()

    def backward(self, start: int | None = None, end: int = 0) -> None:
        """Runs the layers back from index `start` to `end`, both included: fills the diffs of
        bottoms and adds to those of parameters.

        Raises: NetError where one of them has not run forward yet, or the net gives up its data.
        """
        last = len(self.layers) - 1
        start = last if start is None else start
        check_range(self.layers, "backward", end, start)
        order = range(start, end - 1, -1)
        if self._whole.folds:
            check_keeps_data(self.name, self.passing_data)
            self._whole.unfold()
        if len(self.ran) <= last:
            needed = [index for index in order if self.layer_needs_backward[index]]
            check_ran(self.layers, needed, self.ran)
        for top in self._at_risk:
            top.fill_diff()
        with self.memory.explaining():
            self._backward(order)

    def joined(self, between: Sequence[Step], after: Sequence[Step]) -> JointPass | None:
        """A pass forward, steps, a pass back, and more steps for `run_joint`, on a backend with
        graphs. None where the passes are not recorded, or need something in between."""
        return None if self._at_risk else self._whole.joined(between, after)

    def holds(self, joint: JointPass) -> bool:
        """Whether what `joined` gave is still what the passes do."""
        return not self.hooks and not self.debug_info and self._whole.holds(joint)

    def run_joint(self, joint: JointPass) -> bool:
        """Runs what `joined` gave. False where a data layer changed shapes: then only the pass
        forward was run."""
        with self._forward_pass():
            return self._whole.run_joint(joint)

    @contextlib.contextmanager
    def _forward_pass(self) -> Iterator[None]:
        """A pass forward is run within."""
        self.passes.value += 1
        try:
            with self.memory.explaining():
                yield
        except LabelError as error:
            samples.name_label(self, error)
            raise

    def _backward(self, order: range) -> None:
        whole = len(order) == len(self.layers)
        if not whole or self.debug_info or self.hooks:
            for index in self.hooks.around_backward(order):
                self._backward_layer(index)
                if self.debug_info and self.layer_needs_backward[index]:
                    debug_info.log_backward(
                        self.layers[index], self.bottoms[index], self.bottom_needs_backward[index]
                    )
            if self.debug_info:
                debug_info.log_parameters([one.blob for one in self.parameters.learnable])
            return
        self._whole.backward()

    def repeat_backward(self) -> None:
        """Runs all layers back once more, and keeps the gradients of all blobs. Those of parameters
        are added to again."""
        for index in reversed(range(len(self.layers))):
            self._backward_layer(index)

    def repeat_forward(self) -> None:
        """Runs the layers whose tops were given up once more, and keeps them."""
        passing = {value.storage_id for group in self.passing_data for value in group}
        for index, tops in enumerate(self.tops):
            if any(top.data.storage_id in passing for top in tops):
                self._forward_layer(index)

    def repeat_layer(self, index: int) -> None:
        """Runs one layer forward as in the last pass once more, with the same random numbers."""
        self._forward_layer(index)

    def check_layers(self) -> None:
        """Refuses to be run without any layer. Raises: NetError."""
        if not self.layers:
            raise NetError(
                f"net '{self.name}': expected at least one layer in phase "
                f"{Phase.Name(self.phase)}, got none. Give it layers, or correct their include "
                "and exclude rules."
            )

    def reshape(self) -> None:
        """Lets every layer shape its tops anew, after an input was reshaped."""
        for index in range(len(self.layers)):
            self._reshape_layer(index)
        self._set_loss_diffs()

    def forward_backward(self) -> None:
        """One pass forward and one back."""
        self.forward()
        self.backward()

    def close(self) -> None:
        """Ends the threads and files of all layers."""
        for layer in self.layers:
            layer.close()

    # ---- weights

    def share_parameters(self, other: Net) -> None:
        """Takes the parameters of the layers of the same name in `other`: the same memory.

        Raises: NetError where blob counts or shapes differ.
        """
        # views of a parameter (Split tops) are taken anew
        self.epoch.count += share_between_nets(self.layers, other.layers)

    # ---- one layer, one recording

    def _let_values_pass(
        self, keep: bool, outputs: Sequence[Blob]
    ) -> tuple[list[list[Value]], list[list[Value]]]:
        """Per layer, the data and the diffs that others take the memory of once it has run."""
        data: list[list[Value]] = []
        diffs: list[list[Value]] = []
        losses = [top.blob for top in self._losses]
        if not keep and self.phase == Phase.TEST:
            kept = {blob.data.storage_id for blob in (*outputs, *losses)}
            data = lifetimes.passing_data(self.layers, self.bottoms, self.tops, kept)
        elif not keep:
            kept = {blob.diff.storage_id for blob in losses}
            diffs = lifetimes.passing_diffs(self.bottoms, self.tops, kept)
        lifetimes.borrow(data + diffs, Pool())
        return data, diffs

    def _set_loss_diffs(self) -> None:
        """The diff of a top with a loss weight is that weight everywhere."""
        for top in self._losses:
            top.fill_diff()

    def scale_losses(self, fill: Callable[[Value, float], None]) -> None:
        """From now on `fill` is called with the diff and the weight of each loss before a backward
        pass, to make it more than the weight."""
        self._at_risk = self._losses
        for top in self._losses:
            top.fill = fill

    def _forward_layer(self, index: int) -> None:
        before = self.epoch.count
        self._reshape_layer(index)
        if self.epoch.count != before:
            self._set_loss_diffs()
        before = self.epoch.count
        self.layers[index].forward(self.bottoms[index], self.tops[index])
        if self.epoch.count != before:
            self._set_loss_diffs()
        self._keep_losses(index)
        self.ran.add(index)

    def _reshape_layer(self, index: int) -> None:
        layer, bottoms, tops = self.layers[index], self.bottoms[index], self.tops[index]
        if layer.records:
            self._refuse_reshaped(layer, self._param_shapes[index])
            if bottoms and _shapes(tops) != self._top_shapes[index]:
                layer.forget_shapes()  # the user's code has reshaped a top that is not an input
        try:
            layer.reshape(bottoms, tops)
        except BlobShapeError as error:
            layer.forget_shapes()
            raise ShapeError(f"{layer.where}: {error}") from None
        except BaseException:  # its ops are still those of the shapes before
            layer.forget_shapes()
            raise
        self._top_shapes[index] = _shapes(tops)

    def _refuse_reshaped(self, layer: Layer, built: Sequence[Shape]) -> None:
        """Raises: ShapeError where a parameter has not the shape that its layer was built with."""
        for place, (blob, shape) in enumerate(zip(layer.blobs, built, strict=True)):
            if blob.shape != shape:
                layer.shape_error(
                    f"its learnable blob {place}",
                    f"shape {shape}, which it was built with",
                    str(blob.shape),
                    "Reshape it back, or open a prototxt that gives the other shape.",
                )

    def _backward_layer(self, index: int) -> None:
        if self.layer_needs_backward[index]:
            self.layers[index].backward(
                self.tops[index], self.bottom_needs_backward[index], self.bottoms[index]
            )

    def _keep_losses(self, index: int) -> None:
        """Copies the losses of a layer that later layers change."""
        for top in self._losses:
            if top.place == index and top.kept is not None:
                top.kept.reshape(top.blob.shape)
                self.ops.sum().forward([top.blob.data], out=top.kept)

    def _add_losses(self, start: int, end: int) -> None:
        """Sums the weighted losses of the layers from `start` to `end` into `loss`."""
        tops = [top for top in self._losses if start <= top.place <= end]
        total = self.ops.weighted_sum(tuple(top.weight for top in tops))
        data = [top.blob.data if top.kept is None else top.kept for top in tops]
        total.forward(data, out=self.loss)


def _shapes(blobs: Sequence[Blob]) -> tuple[Shape, ...]:
    return tuple(blob.shape for blob in blobs)
