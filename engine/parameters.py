"""The learnable parameters of a net: which blobs they are, who shares them, how fast they learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.core.layer import Layer
from caffepy.proto.caffe_pb2 import ParamSpec


@dataclass
class Parameter:
    """One learnable blob, shared ones counted once.

    lr_mult, decay_mult: None until a ParamSpec gives them; they then count as 1.
    layer, index: the owner's place, `layer.blobs[index]`.
    """

    blob: Blob
    layer: Layer
    index: int
    name: str
    lr_mult: float | None
    decay_mult: float | None

    @property
    def rate(self) -> float:
        """What the learning rate is multiplied by."""
        return 1.0 if self.lr_mult is None else self.lr_mult

    @property
    def decay(self) -> float:
        """What the weight decay is multiplied by."""
        return 1.0 if self.decay_mult is None else self.decay_mult


@dataclass
class Parameters:
    """The parameters of a net, in the order of their owners.

    learnable: the owners.  shared: the lines logged about sharing.
    """

    learnable: list[Parameter] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    _by_name: dict[str, Parameter] = field(default_factory=dict)

    def add_layer(self, layer: Layer) -> None:
        """Takes the blobs of a layer that was set up, by its `param` specs.

        Raises: NetError, ShapeError where sharing does not fit.
        """
        specs = layer.param.param
        if len(specs) > len(layer.blobs):
            layer.error(
                f"expected at most {len(layer.blobs)} `param` block(s), one per learnable blob, "
                f"got {len(specs)}. Remove the surplus ones."
            )
        for index, blob in enumerate(layer.blobs):
            spec = specs[index] if index < len(specs) else ParamSpec()
            lr_mult = spec.lr_mult if spec.HasField("lr_mult") else None
            decay_mult = spec.decay_mult if spec.HasField("decay_mult") else None
            owner = self._by_name.get(spec.name) if spec.name else None
            if owner is None:
                parameter = Parameter(blob, layer, index, spec.name, lr_mult, decay_mult)
                self.learnable.append(parameter)
                if spec.name:
                    self._by_name[spec.name] = parameter
            else:
                self._share(owner, layer, index, spec)
                owner.lr_mult = self._agree("lr_mult", owner.lr_mult, lr_mult, layer, owner)
                owner.decay_mult = self._agree(
                    "decay_mult", owner.decay_mult, decay_mult, layer, owner
                )

    def clear_diffs(self) -> None:
        """Sets all gradients to zero."""
        for parameter in self.learnable:
            parameter.blob.diff.clear()

    def _share(self, owner: Parameter, layer: Layer, index: int, spec: ParamSpec) -> None:
        blob = layer.blobs[index]
        permissive = spec.share_mode == ParamSpec.PERMISSIVE
        fits = blob.count == owner.blob.count if permissive else blob.shape == owner.blob.shape
        if not fits:
            same_count = not permissive and blob.count == owner.blob.count
            way_out = (
                "give the `param` block `share_mode: PERMISSIVE`"
                if same_count
                else "use another parameter name"
            )
            raise ShapeError(
                f"{layer.where}: cannot share parameter '{spec.name}' with layer "
                f"'{owner.layer.name}': expected "
                f"{'as many elements as' if permissive else 'shape'} {owner.blob.shape}, "
                f"got {blob.shape}. Make the layers agree, or {way_out}."
            )
        if permissive:
            owner.blob.data.prefer(layer.ops.layout)
            owner.blob.diff.prefer(layer.ops.layout)
        blob.alias(owner.blob, blob.shape)
        line = (
            f"Sharing parameters '{spec.name}' owned by layer '{owner.layer.name}', "
            f"param index {owner.index}"
        )
        self.shared.append(line)
        log.info(line)

    @staticmethod
    def _agree(
        name: str, owned: float | None, given: float | None, layer: Layer, owner: Parameter
    ) -> float | None:
        """The multiplier of a shared parameter: whoever gives it; both may, if they agree."""
        if owned is not None and given is not None and owned != given:
            raise NetError(
                f"{layer.where}: shared parameter '{owner.name}': expected {name} {owned:g} as in "
                f"its owner '{owner.layer.name}', got {given:g}. Give both the same, or only one."
            )
        return owned if given is None else given


def share_between_nets(layers: Sequence[Layer], others: Sequence[Layer]) -> int:
    """Gives the parameters of the layers of one net the memory of those of the same name in
    another; of several layers of one name each with its counterpart. Returns how many were not
    yet shared.

    Raises: NetError where blob counts or shapes differ.
    """
    theirs = {layer.key: layer for layer in others}
    shared = 0
    for layer in layers:
        source = theirs.get(layer.key)
        if source is None:
            continue
        if [blob.shape for blob in layer.blobs] != [blob.shape for blob in source.blobs]:
            layer.error(
                "cannot share its parameters between the train and the test net: expected "
                f"shapes {[blob.shape for blob in source.blobs]}, got "
                f"{[blob.shape for blob in layer.blobs]}. Make both definitions equal."
            )
        for blob, source_blob in zip(layer.blobs, source.blobs, strict=True):
            if not blob.data.shares_memory_with(source_blob.data):
                blob.data.alias(source_blob.data)
                shared += 1
    return shared
