"""Which layers of a net a state leaves: the include and exclude rules."""

from __future__ import annotations

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError, place


def filter_net(net: pb.NetParameter, state: pb.NetState) -> pb.NetParameter:
    """The net with the layers that `state` asks for, and that state.

    Raises: PrototxtError where a layer has both include and exclude rules.
    """
    filtered = pb.NetParameter()
    filtered.CopyFrom(net)
    filtered.state.CopyFrom(state)
    del filtered.layer[:]
    filtered.layer.extend(layer for layer in net.layer if _is_included(layer, state))
    return filtered


def _is_included(layer: pb.LayerParameter, state: pb.NetState) -> bool:
    if layer.include and layer.exclude:
        raise PrototxtError(
            f"{place(layer)}: expected either include or exclude rules, got both."
            " Say with one of them when the layer is used."
        )
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: pb.NetState, rule: pb.NetStateRule) -> bool:
    return (
        (not rule.HasField("phase") or state.phase == rule.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )
