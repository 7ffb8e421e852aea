"""caffe.net_spec: nets written in Python.

    n = caffe.NetSpec()
    n.data, n.label = L.Data(source="digits_lmdb", batch_size=64, ntop=2)
    n.score = L.InnerProduct(n.data, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    text = str(n.to_proto())

where `L` is caffe.layers and `P`, for the values of enums (`pool=P.Pooling.MAX`), caffe.params.
Source: python/caffe/net_spec.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffepy.engine.core.registry import LAYERS
from caffepy.proto import caffe_pb2
from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter
from caffepy.proto.errors import PrototxtError, did_you_mean
from caffepy.proto.fields import NOTES, PRIVATE_NUMBERS, is_repeated

__all__ = [
    "Function",
    "Layers",
    "NetSpec",
    "Parameters",
    "Top",
    "assign_proto",
    "layers",
    "param_name_dict",
    "params",
    "to_proto",
]

# Caffe's own types that do not read the block which a fork has under their name.
_READ_ANOTHER_BLOCK = ("LSTM", "Split")


def param_name_dict() -> dict[str, str]:
    """The block of each layer type that has one: `{"Convolution": "convolution", ...}`, without the
    endings `Parameter` of its message and `_param` of its field."""
    names: dict[str, str] = {}
    fields: list[Any] = list(LayerParameter.DESCRIPTOR.fields)
    for field in sorted(fields, key=lambda field: field.number):
        if field.name.endswith("_param") and field.name not in NOTES:
            layer_type = field.message_type.name.removesuffix("Parameter")
            if layer_type not in _READ_ANOTHER_BLOCK:
                names.setdefault(layer_type, field.name.removesuffix("_param"))
    return names


def to_proto(*tops: Top) -> NetParameter:
    """The net of all layers that are needed for `tops`; they are named by type and number."""
    built: _Built = {}
    names: _Names = {}
    autonames: Counter[str] = Counter()
    for top in tops:
        top.fn._build(built, names, autonames)
    return NetParameter(layer=built.values())


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Sets a field of a message: dicts become messages, lists repeated fields, and one value for a
    repeated field a list of it.

    Raises: PrototxtError where the message has no such field, or the field takes no such value.
    """
    _assign(proto, name, val, proto.DESCRIPTOR.name)


class Top:
    """One top of a layer.

    fn: the layer.  n: its place among the layer's tops.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> NetParameter:
        """The net of all layers that are needed for this top."""
        return to_proto(self)

    def _update(self, params: Mapping[str, Any]) -> None:
        self.fn.params.update(params)


_Names: TypeAlias = "dict[Top | Function, str]"
_Built: TypeAlias = "dict[Function, LayerParameter]"


class Function:
    """A layer: its type, its bottoms, which are tops of other layers, and its fields.

    params: the fields, without `ntop` (the number of tops, 1) and `in_place` (false).
    Raises: TypeError where an input is no Top.
    """

    def __init__(self, type_name: str, inputs: Sequence[Top], params: Mapping[str, Any]) -> None:
        for index, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(top)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def _update(self, params: Mapping[str, Any]) -> None:
        self.params.update(params)

    def _build(self, built: _Built, names: _Names, autonames: Counter[str]) -> None:
        """Adds this layer's message to `built`, after those of the layers that it needs."""
        waiting = [self]
        while waiting:
            fn = waiting[-1]
            needed = next((top.fn for top in fn.inputs if top.fn not in built), None)
            if fn in built:
                waiting.pop()
            elif needed is not None:
                waiting.append(needed)
            else:
                built[fn] = fn._message(built, names, autonames)

    def _message(self, built: _Built, names: _Names, autonames: Counter[str]) -> LayerParameter:
        layer = LayerParameter(type=self.type_name)
        layer.bottom.extend(built[top.fn].top[top.n] for top in self.inputs)
        if self.in_place:
            layer.top.extend(layer.bottom)
        else:
            layer.top.extend(self._name(top, names, autonames) for top in self.tops)
        if self not in names and self.tops:
            names[self] = self._name(self.tops[0], names, autonames)
        layer.name = self._name(self, names, autonames)
        for key, value in self.params.items():
            owner = self._owner(layer, key)
            _assign(owner, key, value, f"layer '{layer.name}' ({self.type_name})")
        return layer

    def _name(self, named: Top | Function, names: _Names, autonames: Counter[str]) -> str:
        if named not in names:
            autonames[self.type_name] += 1
            names[named] = f"{self.type_name}{autonames[self.type_name]}"
        return names[named]

    def _owner(self, layer: LayerParameter, key: str) -> Message:
        """The message that a field is for: the type's own block, or the layer."""
        own = layer.DESCRIPTOR.fields_by_name
        if key.endswith("param") and key in own:
            return layer
        block: Message | None = None
        if self.type_name in _block_names:
            block = getattr(layer, f"{_block_names[self.type_name]}_param")
            field = block.DESCRIPTOR.fields_by_name.get(key)
            # a fork's field does not take the place of one that all layers have, but for the
            # type, which is given already
            shadowed = key in own and key != "type"
            if field is not None and (field.number not in PRIVATE_NUMBERS or not shadowed):
                return block
        if key.endswith("param"):
            return layer
        if key not in own:
            known = block is not None or self.type_name in LAYERS
            if near := "" if known else did_you_mean(self.type_name, LAYERS):
                raise PrototxtError(
                    f"layer '{layer.name}' ({self.type_name}): there is no such type.{near}"
                )
            raise PrototxtError(
                f"layer '{layer.name}' ({self.type_name}): expected "
                f"{f'a field of {block.DESCRIPTOR.name} or' if block else 'a field'} of "
                f"LayerParameter, got '{key}'.{_remedy(key, block)}"
            )
        return layer


class NetSpec:
    """A net under construction: `n.name = top` names a top, and its layer after the first of its
    tops. `n["name"]` is the same, for names that Python cannot say.

    tops: what was named, in order; a layer without tops (ntop=0) is named itself.
    """

    tops: dict[str, Top | Function]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tops":  # Python asks, as when a NetSpec is copied
            raise AttributeError(name)
        return self.tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def keys(self) -> list[str]:
        """The names that were given, in order."""
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        """What was named, in order."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Sets more fields of the layer that `name` is a top of, or other values."""
        self.tops[name]._update(params)

    def to_proto(self) -> NetParameter:
        """The net of all layers that are needed for what was named."""
        built: _Built = {}
        names: _Names = {}
        for name, named in self.tops.items():
            if not isinstance(named, (Top, Function)):
                raise TypeError(
                    f"NetSpec: '{name}': expected a top of a layer, got {type(named).__name__}. A "
                    "layer with ntop=2 gives two tops: n.data, n.label = L.Data(..., ntop=2)."
                )
            names[named] = name
        autonames: Counter[str] = Counter()
        for named in self.tops.values():
            (named.fn if isinstance(named, Top) else named)._build(built, names, autonames)
        return NetParameter(layer=built.values())


class Layers:
    """caffe.layers: `layers.Convolution(bottom, ..., kernel_size=3)` makes a layer of that type.

    It returns the layer's top, a tuple of its tops where there are several (ntop=2), and the layer
    itself where there is none (ntop=0).
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer_fn(*args: Top, **kwargs: Any) -> Any:
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class Parameters:
    """caffe.params: the values of enums, `params.Pooling.MAX` for PoolingParameter.MAX."""

    def __getattr__(self, name: str) -> Any:
        message = getattr(caffe_pb2, f"{name}Parameter", None)
        if message is None:
            raise AttributeError(
                f"params: expected the name of a message without its ending Parameter, as in "
                f"params.Pooling.MAX, got '{name}'."
            )
        return message


def _assign(proto: Message, name: str, val: Any, where: str) -> None:
    known: Any = proto.DESCRIPTOR.fields_by_name
    if name not in known:
        raise PrototxtError(
            f"{where}: expected a field of {proto.DESCRIPTOR.name}, got '{name}'."
            f"{did_you_mean(name, known) or ' Correct its name, or leave it out.'}"
        )
    if isinstance(val, np.ndarray):
        val = val.tolist()
    inside = f"{where}: {name}"
    field = getattr(proto, name)
    try:
        if is_repeated(known[name]):
            values = list(val) if isinstance(val, (list, tuple)) else [val]
            if any(isinstance(value, Mapping) for value in values):
                for value in values:
                    _assign_fields(field.add(), value, inside)
            else:
                field.extend(values)
        elif isinstance(val, Mapping):
            _assign_fields(field, val, inside)
        elif isinstance(val, Message):
            field.CopyFrom(val)
        else:
            setattr(proto, name, val)
    except (TypeError, ValueError, AttributeError) as error:
        raise PrototxtError(
            f"{inside}: expected {_wanted(known[name])}, got {val!r}: "
            f"{' '.join(str(error).split()).rstrip('.')}. Correct the value."
        ) from None


def _remedy(key: str, block: Message | None) -> str:
    """What to write for a field that neither the layer nor its type's block has."""
    if block is not None:
        near = did_you_mean(key, [*block.DESCRIPTOR.fields_by_name, *_layer_fields])
        return near or " Correct its name, or leave it out."
    holders = [
        name
        for name, field in _layer_fields.items()
        if name.endswith("_param")
        and field.number not in PRIVATE_NUMBERS
        and key in field.message_type.fields_by_name
    ]
    if not holders:
        return " Correct its name, or leave it out."
    return f" Give it in the block that the layer reads: {holders[0]}=dict({key}=...)" + (
        f", or {', '.join(holders[1:])}." if holders[1:] else "."
    )


def _assign_fields(message: Message, values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        _assign(message, name, value, where)


def _wanted(field: FieldDescriptor) -> str:
    """What a field takes, in words."""
    if field.message_type is not None:
        one = f"a dict of fields of {field.message_type.name}"
    elif field.enum_type is not None:
        enum: Any = field.enum_type
        one = f"one of {', '.join(enum.values_by_name)}"
    else:
        one = {
            FieldDescriptor.CPPTYPE_STRING: "a string",
            FieldDescriptor.CPPTYPE_BOOL: "True or False",
            FieldDescriptor.CPPTYPE_FLOAT: "a number",
            FieldDescriptor.CPPTYPE_DOUBLE: "a number",
        }.get(field.cpp_type, "a whole number")
    return f"{one}, or a list of them" if is_repeated(field) else one


_layer_fields: Any = LayerParameter.DESCRIPTOR.fields_by_name
_block_names = param_name_dict()
layers = Layers()
params = Parameters()
