"""Net: layers wired by their blobs, run forward and backward."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from caffepy.engine import debug_info, filler, samples
from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob, BlobShapeError
from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.core.layer import Layer, LayerContext
from caffepy.engine.core.random import Counter
from caffepy.engine.core.record import Step, recorded
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.hooks import Hooks
from caffepy.engine.in_place import warn_of_spoilt_gradients
from caffepy.engine.known_types import unknown_type
from caffepy.engine.memory import Memory
from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameters, share_between_nets
from caffepy.engine.passes.checks import check_ran, check_range
from caffepy.engine.passes.program import Program, host_step
from caffepy.engine.wiring import Node, backward_needs
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter, NetState, Phase
from caffepy.proto.errors import did_you_mean, place, type_place
from caffepy.proto.filter import filter_net
from caffepy.proto.splits import insert_splits
from caffepy.proto.upgrade import upgrade_net

AUTOMATIC = "(automatic)"  # the name of tops that the prototxt leaves out


class Net:
    """A net of layers in one phase.

    param: a NetParameter of any age; it is upgraded, filtered by `state` (phase, level, stages) and
    given Split layers.  ops: the backend.  registry: the layer classes by type.  seed: what all
    random numbers follow from.  folders: where relative files are looked for.  memory: of the run
    that the net is part of; that of the machine by default.

    Attributes: layers, blobs (by name, in order of appearance), bottoms and tops (per layer),
    layer_needs_backward, bottom_needs_backward, inputs and outputs (blob names, Caffe's order),
    parameters, memory_bytes (of all data, as Caffe counts it), loss (scalar Value), definition
    (param upgraded and filtered, without Splits), hooks, ran (the layers that have run forward).
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
    ) -> None:
        filtered = filter_net(upgrade_net(param), state)
        filtered.state.CopyFrom(state)
        log.info("Initializing net from parameters: \n" + text.write(filtered).rstrip("\n"))
        self.definition = filtered
        self.param = insert_splits(filtered)
        self.name: str = param.name
        self.phase: int = state.phase
        self.ops = ops
        self.epoch = Epoch()
        self.passes = Counter()
        self.context = LayerContext(
            self.phase, ops, filler.fill, seed, rank, folders, self.epoch, self.passes
        )
        self.context.fills = []
        self.layers: list[Layer] = []
        self.blobs: dict[str, Blob] = {}
        self.bottoms: list[list[Blob]] = []
        self.tops: list[list[Blob]] = []
        self.inputs: list[str] = []
        self.parameters = Parameters()
        self.memory_bytes = 0
        self.loss = Value((), ops.dtype)
        self.debug_info: bool = self.param.debug_info
        self._unused: set[str] = set()
        self._losses: list[tuple[int, Blob, float]] = []  # place of the layer, top, weight
        self._at_risk: list[tuple[Blob, float]] = []  # losses whose diff a backward pass overwrites
        self.ran: set[int] = set()
        self.hooks = Hooks()
        self._programs: dict[str, Program | None] = {"forward": None, "backward": None}

        try:
            for layer_param in self.param.layer:
                self._add_layer(layer_param, registry)
            self._decide_backward()
            warn_of_spoilt_gradients(self)
            (memory or Memory()).add(self)
            for fill in self.context.fills:
                fill()
        except BaseException:  # its databases and threads do not outlive a net that is refused
            self.close()
            raise
        self.context.fills = None
        self._set_loss_diffs()
        diffs = [blob.diff for bottom in self.bottoms for blob in bottom]
        self._at_risk = [
            (blob, weight)
            for _, blob, weight in self._losses
            if any(blob.diff.shares_memory_with(diff) for diff in diffs)
        ]
        self.outputs: list[str] = sorted(self._unused)
        for name in self.outputs:
            log.info(f"This network produces output {name}")
        self.parameters.gather()
        log.info("Network initialization done.")

    @property
    def loss_weights(self) -> dict[str, float]:
        """The loss weights other than 0, by blob name."""
        return {blob.name: weight for _, blob, weight in self._losses}

    # ---- running

    def forward(self, start: int = 0, end: int | None = None) -> None:
        """Runs the layers from index `start` to `end`, both included; the weighted sum of the
        losses among them is then in `loss`."""
        last = len(self.layers) - 1
        end = last if end is None else end
        check_range(self.layers, "forward", start, end)
        self.passes.value += 1
        try:
            self._forward(start, end)
        except LabelError as error:
            samples.name_label(self, error)
            raise

    def _forward(self, start: int, end: int) -> None:
        last = len(self.layers) - 1
        if (start, end) != (0, last) or self.debug_info or self.hooks:
            for index in self.hooks.around_forward(range(start, end + 1)):
                self._forward_layer(index)
                if self.debug_info:
                    debug_info.log_forward(self.layers[index], self.tops[index])
            self._add_losses(start, end)
            return
        program = self._programs["forward"]
        if program is None or program.shape_count != self.epoch.count:
            self._programs["forward"] = self._record(range(last + 1), self._forward_layer, True)
            return
        resume = program.run(self.epoch)
        if resume is not None:
            for index in range(resume, last + 1):
                self._forward_layer(index)
            self._add_losses(0, last)

    def backward(self, start: int | None = None, end: int = 0) -> None:
        """Runs the layers back from index `start` to `end`, both included: fills the diffs of
        bottoms and adds to those of parameters.

        Raises: NetError where one of them has not run forward yet.
        """
        last = len(self.layers) - 1
        start = last if start is None else start
        check_range(self.layers, "backward", end, start)
        order = range(start, end - 1, -1)
        if len(self.ran) <= last:
            needed = [index for index in order if self.layer_needs_backward[index]]
            check_ran(self.layers, needed, self.ran)
        for blob, weight in self._at_risk:
            blob.diff.write()[...] = weight
        if (start, end) != (last, 0) or self.debug_info or self.hooks:
            for index in self.hooks.around_backward(order):
                self._backward_layer(index)
                if self.debug_info and self.layer_needs_backward[index]:
                    debug_info.log_backward(
                        self.layers[index], self.bottoms[index], self.bottom_needs_backward[index]
                    )
            if self.debug_info:
                debug_info.log_parameters([one.blob for one in self.parameters.learnable])
            return
        program = self._programs["backward"]
        if program is None or program.shape_count != self.epoch.count:
            self._programs["backward"] = self._record(order, self._backward_layer, False)
        else:
            program.run(self.epoch)

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

    # ---- building

    def _add_layer(self, param: LayerParameter, registry: Mapping[str, type[Layer]]) -> None:
        cls = registry.get(param.type)
        if cls is None:
            raise NetError(f"{type_place(param)}: {unknown_type(param.type, registry)}")
        log.info(f"Creating Layer {param.name}")
        if param.propagate_down and len(param.propagate_down) != len(param.bottom):
            raise NetError(
                f"{place(param)}: expected no `propagate_down` or one per bottom "
                f"({len(param.bottom)}), got {len(param.propagate_down)}. Give one for each, or "
                "remove them."
            )
        layer = cls(param, self.context)
        bottom = [self._take_bottom(param, name) for name in param.bottom]
        top = [self._make_top(param, index, name) for index, name in enumerate(param.top)]
        needed = layer.tops if isinstance(layer.tops, int) else layer.tops[0]
        for _ in range(len(top), needed if layer.auto_tops else 0):
            log.info(f"{param.name} -> {AUTOMATIC}")
            top.append(Blob(AUTOMATIC, (), self.ops.dtype, self.epoch))
            self.blobs[AUTOMATIC] = top[-1]
        layer.check_blob_counts(len(bottom), len(top))
        if not layer.in_place_allowed:
            layer.refuse_in_place(bottom, top)
        try:
            layer.setup(bottom, top)
            layer.reshape(bottom, top)
            layer.refuse_unread_blocks()
        except BlobShapeError as error:
            raise ShapeError(f"{layer.where}: {error}") from None
        log.info(f"Setting up {param.name}")
        self.layers.append(layer)
        self.bottoms.append(bottom)
        self.tops.append(top)
        self._note_tops(layer, top)
        self.parameters.add_layer(layer)

    def _take_bottom(self, param: LayerParameter, name: str) -> Blob:
        if name not in self._unused:
            remedy = did_you_mean(name, self.blobs) or " Add the layer, or fix the name."
            raise NetError(
                f"{place(param)}: bottom '{name}' is not produced by any layer before it.{remedy}"
            )
        self._unused.remove(name)
        log.info(f"{param.name} <- {name}")
        return self.blobs[name]

    def _make_top(self, param: LayerParameter, index: int, name: str) -> Blob:
        """The blob of a top: a new one, or the bottom that the layer changes in place."""
        if index < len(param.bottom) and param.bottom[index] == name:
            log.info(f"{param.name} -> {name} (in-place)")
        elif name in self.blobs:
            producers = [layer.name for layer in self.layers if name in layer.param.top]
            raise NetError(
                f"{place(param)}: top '{name}' is already produced by layer "
                f"'{(*producers, param.name)[0]}'. Name one of them differently; to work in place, "
                f"make '{name}' the bottom at the same place too."
            )
        else:
            log.info(f"{param.name} -> {name}")
            self.blobs[name] = Blob(name, (), self.ops.dtype, self.epoch)
        if param.type == "Input":
            self.inputs.append(name)
        self._unused.add(name)
        return self.blobs[name]

    def _note_tops(self, layer: Layer, top: Sequence[Blob]) -> None:
        """Logs the tops of a new layer and takes down which of them are losses."""
        if len(layer.param.loss_weight) not in (0, len(layer.param.top)):
            layer.error(
                f"expected no `loss_weight` or one per top ({len(layer.param.top)}), got "
                f"{len(layer.param.loss_weight)}. Give one for each, or remove them."
            )
        for index, blob in enumerate(top):
            weight = layer.loss_weight(index)
            log.info(f"Top shape: {' '.join(map(str, (*blob.shape, f'({blob.count})')))}")
            if weight:
                log.info(f"    with loss weight {weight:g}")
                self._losses.append((len(self.layers) - 1, blob, weight))
            self.memory_bytes += blob.count * 4
        log.info(f"Memory required for data: {self.memory_bytes}")

    def _decide_backward(self) -> None:
        nodes = [
            Node(
                [blob.name for blob in bottom],
                [blob.name for blob in top],
                list(layer.param.propagate_down),
                any(self._learns(layer)),
                [bool(layer.loss_weight(index)) for index in range(len(top))],
                [layer.allow_force_backward(index) for index in range(len(bottom))],
            )
            for layer, bottom, top in zip(self.layers, self.bottoms, self.tops, strict=True)
        ]
        needs = backward_needs(nodes, False)
        for layer, needed in zip(reversed(self.layers), reversed(needs.layers), strict=True):
            log.info(f"{layer.name} {'needs' if needed else 'does not need'} backward computation.")
            layer.param_propagate_down = self._learns(layer)
        if self.param.force_backward:  # as in Caffe, the lines above do not know of it
            needs = backward_needs(nodes, True)
            for layer in self.layers:
                layer.param_propagate_down = [True] * len(layer.blobs)
        self.layer_needs_backward = needs.layers
        self.bottom_needs_backward = needs.bottoms

    @staticmethod
    def _learns(layer: Layer) -> list[bool]:
        """Per learnable blob of the layer, whether its lr_mult is other than 0."""
        specs = layer.param.param
        return [
            index >= len(specs) or specs[index].lr_mult != 0 for index in range(len(layer.blobs))
        ]

    def _set_loss_diffs(self) -> None:
        """The diff of a top with a loss weight is that weight everywhere."""
        for _, blob, weight in self._losses:
            blob.diff.write()[...] = weight

    # ---- one layer, one recording

    def _forward_layer(self, index: int) -> None:
        before = self.epoch.count
        self._reshape_layer(index)
        if self.epoch.count != before:
            self._set_loss_diffs()
        before = self.epoch.count
        self.layers[index].forward(self.bottoms[index], self.tops[index])
        if self.epoch.count != before:
            self._set_loss_diffs()
        self.ran.add(index)

    def _reshape_layer(self, index: int) -> None:
        try:
            self.layers[index].reshape(self.bottoms[index], self.tops[index])
        except BlobShapeError as error:
            self.layers[index].forget_shapes()
            raise ShapeError(f"{self.layers[index].where}: {error}") from None
        except BaseException:  # its ops are still those of the shapes before
            self.layers[index].forget_shapes()
            raise

    def _backward_layer(self, index: int) -> None:
        if self.layer_needs_backward[index]:
            self.layers[index].backward(
                self.tops[index], self.bottom_needs_backward[index], self.bottoms[index]
            )

    def _add_losses(self, start: int, end: int) -> None:
        """Sums the weighted losses of the layers from `start` to `end` into `loss`."""
        tops = [
            (blob.data, weight) for place, blob, weight in self._losses if start <= place <= end
        ]
        total = self.ops.weighted_sum(tuple(weight for _, weight in tops))
        total.forward([data for data, _ in tops], out=self.loss)

    def _record(
        self, order: Sequence[int], run_layer: Callable[[int], None], forward: bool
    ) -> Program:
        """Runs the layers in `order` and returns what they did as a Program."""
        steps: list[tuple[int, Step]] = []
        for position, index in enumerate(order):
            if self.layers[index].records:
                run = functools.partial(run_layer, index)
                layer_steps = recorded(self.ops, run, self.layers[index].name)
                steps += [(position, step) for step in layer_steps]
            elif forward or self.layer_needs_backward[index]:
                blobs = self.layers[index], self.bottoms[index], self.tops[index]
                call = host_step(*blobs, functools.partial(run_layer, index), forward)
                call()
                steps.append((position, call))
        if forward:
            run = functools.partial(self._add_losses, 0, len(self.layers) - 1)
            steps += [(len(order), step) for step in recorded(self.ops, run, "(loss)")]
        return Program(steps, self.epoch.count)
