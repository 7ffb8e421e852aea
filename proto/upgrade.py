"""Old nets and solvers to today's form: a message in, a new message out.

Order, as in Caffe: V0 layers to V1, transformation fields, V1 layers to V2, input fields,
BatchNorm's parameters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError, place
from caffepy.proto.typenames import V1_TO_TYPE
from caffepy.proto.upgrade_v0 import upgrade_v0

OLD_FORMS = ("V0 layers", "transformation fields", "V1 layers", "input fields", "BatchNorm params")
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
_DATA_BLOCKS = {
    pb.V1LayerParameter.DATA: "data_param",
    pb.V1LayerParameter.IMAGE_DATA: "image_data_param",
    pb.V1LayerParameter.WINDOW_DATA: "window_data_param",
}
# V1 fields that become something else than a field of the same name.
_V1_CHANGED = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer")
_V1_RENAMED = {"deephi_reisze_param": "deephi_resize_param"}
_SHARE_MODES = {
    pb.V1LayerParameter.STRICT: pb.ParamSpec.STRICT,
    pb.V1LayerParameter.PERMISSIVE: pb.ParamSpec.PERMISSIVE,
}
_SOLVER_TYPES = {
    pb.SolverParameter.SGD: "SGD",
    pb.SolverParameter.NESTEROV: "Nesterov",
    pb.SolverParameter.ADAGRAD: "AdaGrad",
    pb.SolverParameter.RMSPROP: "RMSProp",
    pb.SolverParameter.ADADELTA: "AdaDelta",
    pb.SolverParameter.ADAM: "Adam",
    pb.SolverParameter.SAG: "SAG",
}


def upgrade_net(net: pb.NetParameter) -> pb.NetParameter:
    """The net in today's form. Raises: PrototxtError."""
    for _, step in upgrades(net):
        net = step
    return _copied(net)


def upgrades(net: pb.NetParameter) -> Iterator[tuple[str, pb.NetParameter]]:
    """The steps that the net needs: the old form, one of OLD_FORMS, and the net without it.

    Raises: PrototxtError.
    """
    for form, (needed, upgrade) in zip(OLD_FORMS, _STEPS, strict=True):
        if needed(net):
            net = upgrade(net)
            yield form, net


def net_needs_upgrade(net: pb.NetParameter) -> bool:
    """Whether `upgrade_net` would change anything.

    Differs: Caffe also says so of a BatchNorm whose three `param` are already as they should be.
    """
    return any(needed(net) for needed, _ in _STEPS)


def upgrade_solver(solver: pb.SolverParameter) -> pb.SolverParameter:
    """The solver with `type` for `solver_type`. Raises: PrototxtError where both are given."""
    upgraded = pb.SolverParameter()
    upgraded.CopyFrom(solver)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise PrototxtError(
                "solver: expected either solver_type (the old form) or type, got both."
                " Remove solver_type."
            )
        upgraded.type = _SOLVER_TYPES[solver.solver_type]
        upgraded.ClearField("solver_type")
    return upgraded


def complete_snapshot_prefix(
    solver: pb.SolverParameter, solver_file: str | os.PathLike[str]
) -> pb.SolverParameter:
    """The solver with a snapshot_prefix that begins file names.

    Without one: the solver file's path without its last ending. Where it is an existing folder:
    the solver file's name in it.
    """
    upgraded = pb.SolverParameter()
    upgraded.CopyFrom(solver)
    file = Path(solver_file)
    if not solver.snapshot_prefix:
        upgraded.snapshot_prefix = str(file.with_suffix(""))
    elif os.path.isdir(solver.snapshot_prefix):
        upgraded.snapshot_prefix = os.path.join(solver.snapshot_prefix, file.stem)
    return upgraded


def upgrade_data_transforms(net: pb.NetParameter) -> pb.NetParameter:
    """V1 data layers with scale, mean_file, crop_size and mirror in transform_param."""
    upgraded = _copied(net)
    for layer in upgraded.layers:
        if layer.type in _DATA_BLOCKS:
            block = getattr(layer, _DATA_BLOCKS[layer.type])
            layer.transform_param.SetInParent()
            for name in _TRANSFORM_FIELDS:
                if block.HasField(name):
                    setattr(layer.transform_param, name, getattr(block, name))
                    block.ClearField(name)
    return upgraded


def upgrade_v1(net: pb.NetParameter) -> pb.NetParameter:
    """V1 layers as today's. Differs: Caffe drops the `layer` blocks of a net that has both."""
    if net.layer:
        raise PrototxtError(
            f"{place(net.layer[0])}: expected only one form of layers in a net, got 'layer' here"
            f" and 'layers' ({place(net.layers[0])}). Rewrite the 'layers' blocks as 'layer'."
        )
    upgraded = _copied(net)
    upgraded.ClearField("layers")
    for layer in net.layers:
        upgraded.layer.append(_upgraded_v1(layer))
    return upgraded


def upgrade_inputs(net: pb.NetParameter) -> pb.NetParameter:
    """`input` with `input_shape` or `input_dim` as a first layer of type Input."""
    upgraded = _copied(net)
    for name in ("input", "input_shape", "input_dim", "layer"):
        upgraded.ClearField(name)
    layer = upgraded.layer.add(name="input", type="Input", top=net.input)
    if net.layer and net.layer[0].source_file:
        layer.source_file = net.layer[0].source_file
    wanted = len(net.input)
    if net.input_shape:
        if len(net.input_shape) != wanted:
            raise PrototxtError(
                f"{place(layer)}: expected one input_shape per input, {wanted},"
                f" got {len(net.input_shape)}. Give each input its shape."
            )
        layer.input_param.shape.extend(net.input_shape)
    else:
        if len(net.input_dim) != 4 * wanted:
            raise PrototxtError(
                f"{place(layer)}: expected four input_dim per input, {4 * wanted},"
                f" got {len(net.input_dim)}. Use input_shape for other numbers of axes."
            )
        for first in range(0, 4 * wanted, 4):
            layer.input_param.shape.add(dim=net.input_dim[first : first + 4])
    upgraded.layer.extend(net.layer)
    return upgraded


def upgrade_batch_norm(net: pb.NetParameter) -> pb.NetParameter:
    """BatchNorm layers whose three `param` keep the solver away from the statistics."""
    upgraded = _copied(net)
    for layer in upgraded.layer:
        if _has_statistics_params(layer):
            for param in layer.param:
                param.lr_mult = 0
                param.decay_mult = 0
    return upgraded


def _upgraded_v1(old: pb.V1LayerParameter) -> pb.LayerParameter:
    new = pb.LayerParameter()
    if old.HasField("type"):
        new.type = V1_TO_TYPE[pb.V1LayerParameter.LayerType.Name(old.type)]
    for field, value in old.ListFields():
        if field.name not in _V1_CHANGED:
            name = _V1_RENAMED.get(field.name, field.name)
            if isinstance(value, (str, int)):
                setattr(new, name, value)
            else:
                getattr(new, name).MergeFrom(value)
    given: tuple[Sized, ...] = (old.param, old.blob_share_mode, old.blobs_lr, old.weight_decay)
    for _ in range(max(map(len, given))):
        new.param.add()
    for spec, shared_name in zip(new.param, old.param):
        spec.name = shared_name
    for spec, mode in zip(new.param, old.blob_share_mode):
        spec.share_mode = _SHARE_MODES[mode]
    for spec, lr_mult in zip(new.param, old.blobs_lr):
        spec.lr_mult = lr_mult
    for spec, decay_mult in zip(new.param, old.weight_decay):
        spec.decay_mult = decay_mult
    return new


def _needs_v0(net: pb.NetParameter) -> bool:
    return any(layer.HasField("layer") for layer in net.layers)


def _needs_data_transforms(net: pb.NetParameter) -> bool:
    return any(
        getattr(layer, _DATA_BLOCKS[layer.type]).HasField(name)
        for layer in net.layers
        if layer.type in _DATA_BLOCKS
        for name in _TRANSFORM_FIELDS
    )


def _needs_v1(net: pb.NetParameter) -> bool:
    return len(net.layers) > 0


def _needs_inputs(net: pb.NetParameter) -> bool:
    return len(net.input) > 0


def _needs_batch_norm(net: pb.NetParameter) -> bool:
    return any(
        param.lr_mult != 0 or param.decay_mult != 0
        for layer in net.layer
        if _has_statistics_params(layer)
        for param in layer.param
    )


def _has_statistics_params(layer: pb.LayerParameter) -> bool:
    return layer.type == "BatchNorm" and len(layer.param) == 3


def _copied(net: pb.NetParameter) -> pb.NetParameter:
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    return copy


_Step = tuple[Callable[[pb.NetParameter], bool], Callable[[pb.NetParameter], pb.NetParameter]]
_STEPS: tuple[_Step, ...] = (
    (_needs_v0, upgrade_v0),
    (_needs_data_transforms, upgrade_data_transforms),
    (_needs_v1, upgrade_v1),
    (_needs_inputs, upgrade_inputs),
    (_needs_batch_norm, upgrade_batch_norm),
)
