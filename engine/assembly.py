"""Assembly: the layers of a net, made one by one and wired by the names of their blobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob, BlobShapeError
from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.core.layer import Layer, LayerContext
from caffepy.engine.core.value import Value
from caffepy.engine.known_types import unknown_type
from caffepy.engine.parameters import Parameters
from caffepy.engine.wiring import BackwardNeeds, Node, backward_needs
from caffepy.proto.caffe_pb2 import LayerParameter
from caffepy.proto.errors import did_you_mean, place, type_place

AUTOMATIC = "(automatic)"  # the name of tops that the prototxt leaves out


@dataclass
class LossTop:
    """A top with a loss weight.  place: the index of its layer.  kept: a copy of its data, where a
    later layer changes it in place; the loss is that before.  fill: see Net.scale_losses."""

    place: int
    blob: Blob
    weight: float
    kept: Value | None = None
    fill: Callable[[Value, float], None] | None = None

    def fill_diff(self) -> None:
        """Makes the diff the weight everywhere, or what is made of it."""
        if self.fill is None:
            self.blob.diff.write()[...] = self.weight
        else:
            self.fill(self.blob.diff, self.weight)


def overwritten(losses: Sequence[LossTop], bottoms: Sequence[Sequence[Blob]]) -> list[LossTop]:
    """The losses whose diff a backward pass overwrites, as it is a bottom's."""
    diffs = [blob.diff for bottom in bottoms for blob in bottom]
    return [top for top in losses if any(top.blob.diff.shares_memory_with(diff) for diff in diffs)]


@dataclass
class Assembly:
    """A net in the making.

    context, registry: what layers are made with, and their classes by type.  The other attributes
    grow with each layer; bottoms and tops are per layer, blobs by name in order of appearance,
    unread the names of tops that no layer has read yet, inputs the tops of Input layers,
    memory_bytes that of all tops, as Caffe counts it.
    """

    context: LayerContext
    registry: Mapping[str, type[Layer]]
    layers: list[Layer] = field(default_factory=list)
    blobs: dict[str, Blob] = field(default_factory=dict)
    bottoms: list[list[Blob]] = field(default_factory=list)
    tops: list[list[Blob]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    losses: list[LossTop] = field(default_factory=list)
    parameters: Parameters = field(default_factory=Parameters)
    memory_bytes: int = 0

    def add(self, param: LayerParameter) -> None:
        """Makes the next layer, and sets it up.

        Raises: NetError, ShapeError and what the layer refuses.
        """
        cls = self.registry.get(param.type)
        if cls is None:
            raise NetError(f"{type_place(param)}: {unknown_type(param.type, self.registry)}")
        log.info(f"Creating Layer {param.name}")
        if param.propagate_down and len(param.propagate_down) != len(param.bottom):
            raise NetError(
                f"{place(param)}: expected no `propagate_down` or one per bottom "
                f"({len(param.bottom)}), got {len(param.propagate_down)}. Give one for each, or "
                "remove them."
            )
        layer = cls(param, self.context)
        self.layers.append(layer)  # now, so that it is closed where its set-up fails
        bottom = [self._take_bottom(param, name) for name in param.bottom]
        top = [self._make_top(param, index, name) for index, name in enumerate(param.top)]
        needed = layer.tops if isinstance(layer.tops, int) else layer.tops[0]
        for _ in range(len(top), needed if layer.auto_tops else 0):
            log.info(f"{param.name} -> {AUTOMATIC}")
            top.append(Blob(AUTOMATIC, (), self.context.ops.dtype, self.context.epoch))
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
        self.bottoms.append(bottom)
        self.tops.append(top)
        self._note_tops(layer, top)
        self.parameters.add_layer(layer)

    def decide_backward(self, force: bool) -> BackwardNeeds:
        """Which layers run backward, once all are there.  force: the net's force_backward."""
        nodes = [
            Node(
                [blob.name for blob in bottom],
                [blob.name for blob in top],
                list(layer.param.propagate_down),
                any(_learns(layer)),
                [bool(layer.loss_weight(index)) for index in range(len(top))],
                [layer.allow_force_backward(index) for index in range(len(bottom))],
            )
            for layer, bottom, top in zip(self.layers, self.bottoms, self.tops, strict=True)
        ]
        needs = backward_needs(nodes, False)
        for layer, needed in zip(reversed(self.layers), reversed(needs.layers), strict=True):
            log.info(f"{layer.name} {'needs' if needed else 'does not need'} backward computation.")
            layer.param_propagate_down = _learns(layer)
        if force:  # as in Caffe, the lines above do not know of it
            needs = backward_needs(nodes, True)
            for layer in self.layers:
                layer.param_propagate_down = [True] * len(layer.blobs)
        return needs

    def let_shapes_vary(self) -> None:
        """Tops with another number of rows in each batch do not end the recorded passes, where all
        layers that read them are called anew in each pass, or take any number of rows."""
        for layer, tops in zip(self.layers, self.tops, strict=True):
            for index, top in enumerate(tops):
                varies = index in layer.varying_tops and not layer.loss_weight(index)
                if varies and all(self._any_rows_do(top)):
                    top.vary()

    def _any_rows_do(self, blob: Blob) -> Iterator[bool]:
        """For each layer that reads a blob, whether its number of rows may be any."""
        for layer, bottoms in zip(self.layers, self.bottoms, strict=True):
            for index, bottom in enumerate(bottoms):
                if bottom is blob:
                    yield not layer.records or index in layer.bottoms_of_any_rows

    def _take_bottom(self, param: LayerParameter, name: str) -> Blob:
        if name not in self.unread:
            remedy = did_you_mean(name, self.blobs) or " Add the layer, or fix the name."
            raise NetError(
                f"{place(param)}: bottom '{name}' is not produced by any layer before it.{remedy}"
            )
        self.unread.remove(name)
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
            self.blobs[name] = Blob(name, (), self.context.ops.dtype, self.context.epoch)
        if param.type == "Input":
            self.inputs.append(name)
        self.unread.add(name)
        return self.blobs[name]

    def _note_tops(self, layer: Layer, top: Sequence[Blob]) -> None:
        """Logs the tops of a new layer and takes down which of them are losses."""
        if len(layer.param.loss_weight) not in (0, len(top)):
            layer.error(
                f"expected no `loss_weight` or one per top ({len(top)}), got "
                f"{len(layer.param.loss_weight)}. Give one for each, or remove them."
            )
        for index, blob in enumerate(top):
            weight = layer.loss_weight(index)
            log.info(f"Top shape: {' '.join(map(str, (*blob.shape, f'({blob.count})')))}")
            if weight:
                log.info(f"    with loss weight {weight:g}")
                self.losses.append(LossTop(len(self.layers) - 1, blob, weight))
            self.memory_bytes += blob.count * 4
        log.info(f"Memory required for data: {self.memory_bytes}")


def _learns(layer: Layer) -> list[bool]:
    """Per learnable blob of the layer, whether its lr_mult is other than 0."""
    specs = layer.param.param
    return [index >= len(specs) or specs[index].lr_mult != 0 for index in range(len(layer.blobs))]
