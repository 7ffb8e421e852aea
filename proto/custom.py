"""A layer's own `..._param { }` block, which the schema does not know, by declared fields.

    block = custom.block(layer, "sin_param", {"amplitude": 1.0, "mode": ("SIN", "COS")})
    block.amplitude

What may be given for each field, and what it is where the prototxt does not say:

    1.0, 1, True, "x"          a number, a whole number, true or false, a string, with this default
    float, int, bool, str      the same without a default: the prototxt must give it
    ("SUM", "MAX")             one of these words; the first is the default
    [float], [int], ...        any number of them, none by default
    [1.0, 2.0]                 any number of them, these by default
    {"dim": [int]}             a block with fields of its own
    [{"dim": [int]}]           any number of such blocks
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NoReturn

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import generic
from caffepy.proto.errors import PrototxtError, did_you_mean, place

_SCALARS = (bool, int, float, str)
_NOT_FINITE = ("inf", "infinity", "nan")
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def block(layer: pb.LayerParameter, name: str, fields: Mapping[str, Any]) -> SimpleNamespace:
    """The block `name` of a layer, each of `fields` as an attribute.

    fields: name to default, see above.
    Raises: PrototxtError where the prototxt gives another field or another kind of value, or leaves
    out one that has no default; TypeError where `fields` declares none of the above.
    """
    values, places = generic.read(layer, name)
    return _Block(layer, places).read(name, (), values, fields)


def refuse_unread(layer: pb.LayerParameter, read: set[str]) -> None:
    """Raises: PrototxtError where the layer has a block that neither the schema knows nor `read`
    names: nobody would see what it says."""
    for unknown in layer.unknown_param:
        if unknown.name not in read:
            fields = [f.name for f in layer.DESCRIPTOR.fields if f.name.endswith("_param")]
            hint = did_you_mean(unknown.name, [*read, *fields])
            where = f"{layer.source_file or '<text>'}:{unknown.line}:{unknown.column}"
            raise PrototxtError(
                f"{where}: layer '{layer.name}' ({layer.type}): a layer of this type has no block "
                f"'{unknown.name}'.{hint or ' Remove it, or correct its name.'}"
            )


class _Block:
    """Takes the fields of one block out of what the prototxt gives."""

    def __init__(self, layer: pb.LayerParameter, places: dict[generic.Path, str]) -> None:
        self._layer = layer
        self._places = places

    def read(
        self, name: str, path: generic.Path, values: dict[str, Any], fields: Mapping[str, Any]
    ) -> SimpleNamespace:
        """name: of the block, in full.  path: of the block in `places`."""
        for given in values:
            if given not in fields:
                hint = did_you_mean(given, fields) or (
                    f" It has {', '.join(fields)}." if fields else " It has no fields."
                )
                self._refuse((*path, given, 0), f"'{given}' is not a field of {name}.{hint}")
        found = SimpleNamespace()
        for field, declared in fields.items():
            _check(f"{name}.{field}", declared)
            here = (*path, field)
            full_name = f"{name}.{field}"
            if isinstance(declared, list):
                value: Any = self._list(full_name, here, values.get(field), declared)
            elif field in values:
                value = values[field]
                if isinstance(value, list):
                    self._refuse_list(full_name, here, value)
                value = self._one(full_name, (*here, 0), value, declared)
            elif isinstance(declared, Mapping):
                value = self.read(full_name, here, {}, declared)
            elif isinstance(declared, type):
                raise PrototxtError(
                    f"{place(self._layer)}: {full_name}: expected {_WANTED[declared]}, got none. "
                    f"Write {_example(full_name, declared)}."
                )
            else:
                value = declared[0] if isinstance(declared, tuple) else declared
            setattr(found, field, value)
        return found

    def _list(self, name: str, path: generic.Path, given: Any, declared: list[Any]) -> list[Any]:
        member = declared[0]
        if given is None:
            return [] if isinstance(member, (type, Mapping)) else list(declared)
        listed = given if isinstance(given, list) else [given]
        return [self._one(name, (*path, i), value, member) for i, value in enumerate(listed)]

    def _one(self, name: str, path: generic.Path, given: Any, declared: Any) -> Any:
        if isinstance(declared, Mapping):
            if isinstance(given, dict):
                return self.read(name, path, given, declared)
            self._refuse_value(name, path, "a block { ... }", given)
        if isinstance(declared, tuple):
            if given in declared:
                return given
            self._refuse_value(name, path, f"one of {', '.join(declared)}", given)
        wanted = declared if isinstance(declared, type) else type(declared)
        if wanted is float and not isinstance(given, (bool, dict)):
            if isinstance(given, (int, float)) or given.lower() in _NOT_FINITE:
                return float(given)
        elif wanted is bool and not isinstance(given, (dict, float)) and given in (0, 1):
            return bool(given)
        elif type(given) is wanted:
            return given
        self._refuse_value(name, path, _WANTED[wanted], given)

    def _refuse_value(self, name: str, path: generic.Path, wanted: str, given: Any) -> NoReturn:
        self._refuse(path, f"{name}: expected {wanted}, got {_shown(given)}. Correct it.")

    def _refuse_list(self, name: str, path: generic.Path, given: list[Any]) -> NoReturn:
        self._refuse(
            (*path, max(len(given) - 1, 0)),
            f"{name}: expected one value, got {len(given)}. Keep one.",
        )

    def _refuse(self, path: generic.Path, problem: str) -> NoReturn:
        where = self._places.get(path)
        layer = f"layer '{self._layer.name}'" if where else place(self._layer)
        raise PrototxtError(f"{where}: {layer}: {problem}" if where else f"{layer}: {problem}")


def _check(name: str, declared: Any) -> None:
    """Raises: TypeError where a layer declares what no field can be."""
    one = declared[0] if isinstance(declared, list) and declared else declared
    of_words = isinstance(one, tuple) and one and all(isinstance(word, str) for word in one)
    known = one in _SCALARS if isinstance(one, type) else isinstance(one, (*_SCALARS, Mapping))
    if not (of_words or known):
        raise TypeError(
            f"{name}: expected a default, a type, a tuple of words, a dict of fields or a list of "
            f"one of these, got {declared!r}"
        )


def _shown(given: Any) -> str:
    if isinstance(given, dict):
        return "a block"
    if isinstance(given, bool):
        return f"'{str(given).lower()}'"
    return f"'{given}'"


def _example(name: str, wanted: type) -> str:
    """`sin_param { amplitude: 1 }`"""
    *blocks, field = name.split(".")
    value = {bool: "true", int: "1", float: "1", str: '"..."'}[wanted]
    return " { ".join(blocks) + f" {{ {field}: {value}" + " }" * len(blocks)
