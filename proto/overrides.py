"""`--set PATH=VALUE`: single fields of a solver or net, changed by their path.

    base_lr=0.01   stepvalue=[100,200]   stepvalue.1=300   train_state.stage=deep
    net.fc6.param.0.lr_mult=0   net.data@TEST.data_param.batch_size=4   net.force_backward=true

A number in a path is the index in a repeated field; the index behind the last one adds a member. A
repeated field without index is replaced whole, and added to where its path is given again. Values
are what a prototxt takes, with or without quotes around strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.builder import Builder, fields_of
from caffepy.proto.errors import PrototxtError, did_you_mean
from caffepy.proto.fields import copied
from caffepy.proto.scan import Scan

M = TypeVar("M", bound=Message)

NET = "net."  # begins the paths of net fields
_SHOWN = 12  # layer names that an error lists


@dataclass(frozen=True)
class Override:
    """One `--set`. path: to the field, without the `net.` of net fields.  net: whether it is one.
    text: as it was given."""

    path: str
    value: str
    net: bool
    text: str

    @staticmethod
    def parse(text: str) -> Override:
        """Raises: PrototxtError unless the text is PATH=VALUE."""
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not path or path == NET:
            raise PrototxtError(
                f"--set {text}: expected PATH=VALUE, as in base_lr=0.01 or "
                f"net.fc6.param.0.lr_mult=0, got '{text}'."
            )
        net = path.startswith(NET)
        return Override(path.removeprefix(NET) if net else path, value.strip(), net, text)

    @property
    def where(self) -> str:
        """How errors name it."""
        return f"--set {self.text}"

    def refuse(self, problem: str) -> NoReturn:
        """Raises: PrototxtError about this override."""
        raise PrototxtError(f"{self.where}: {problem}")


def override_solver(
    solver: pb.SolverParameter, overrides: Sequence[Override]
) -> pb.SolverParameter:
    """The solver with its own fields overridden. Raises: PrototxtError."""
    changed = copied(solver)
    replaced: set[tuple[int, str]] = set()
    for override in overrides:
        if not override.net:
            _apply(changed, override.path.split("."), override, replaced, (0, override.path))
    return changed


def override_net(
    net: pb.NetParameter, overrides: Sequence[Override], phase: int
) -> tuple[pb.NetParameter, list[Override]]:
    """The net, which must be in today's form, with its fields overridden as in `phase`; and the
    overrides of layers that it does not have.

    A path that begins with a layer's name, the longest that fits, is about all layers of that name;
    `name@TEST` about them in nets of phase TEST only. Others are about the net itself.
    Raises: PrototxtError.
    """
    changed = copied(net)
    names = {layer.name for layer in net.layer}
    absent: list[Override] = []
    work: list[tuple[Message, str, Override, int]] = []
    for override in overrides:  # all are found first: one may change a layer's name
        if not override.net:
            continue
        found = _layer_name(override.path, names)
        if found is None:
            if override.path.split(".")[0] in fields_of(pb.NetParameter.DESCRIPTOR):
                work.append((changed, override.path, override, -1))
            else:
                absent.append(override)
            continue
        name, only, path = found
        if only and pb.Phase.Value(only) != phase:
            absent.append(override)
            continue
        for place, layer in enumerate(changed.layer):
            if layer.name == name:
                work.append((layer, path, override, place))
    replaced: set[tuple[int, str]] = set()
    for message, path, override, place in work:
        _apply(message, path.split("."), override, replaced, (place, path))
    return changed, absent


def refuse_absent(override: Override, nets: Sequence[pb.NetParameter]) -> NoReturn:
    """Raises: PrototxtError about a path that begins with no layer of the nets."""
    names = list(dict.fromkeys(layer.name for net in nets for layer in net.layer))
    parts = override.path.split(".")
    if (found := _layer_name(override.path, set(names))) is not None:
        override.refuse(
            f"expected a net of phase {found[1]} with layer '{found[0]}', got none in this run. "
            f"Leave out '@{found[1]}'."
        )
    if override.path in names:
        override.refuse("expected a field behind the layer's name, got none. Name one.")
    if len(parts) == 1:
        hint = did_you_mean(parts[0], fields_of(pb.NetParameter.DESCRIPTOR))
        override.refuse(
            f"'{parts[0]}' is not a field of NetParameter."
            f"{hint or ' Name a layer and its field, as in net.fc6.param.0.lr_mult=0.'}"
        )
    for length in range(len(parts) - 1, 0, -1):
        if hint := did_you_mean(".".join(parts[:length]), names):
            break
    else:
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        hint = f" The layers are {', '.join(names[:_SHOWN])}{more}."
    override.refuse(f"there is no layer '{parts[0]}'.{hint}")


def _layer_name(path: str, names: set[str]) -> tuple[str, str, str] | None:
    """The longest layer name that the path begins with, the phase behind it, the rest."""
    found: tuple[str, str, str] | None = None
    for name in names:
        for phase in ("", *pb.Phase.keys()):
            start = f"{name}@{phase}." if phase else f"{name}."
            if name and path.startswith(start) and (found is None or len(name) > len(found[0])):
                found = name, phase, path[len(start) :]
    return found


# ---- one field


def _apply(
    message: Message,
    parts: list[str],
    override: Override,
    replaced: set[tuple[int, str]],
    key: tuple[int, str],
) -> None:
    """Sets the field at the path `parts` in `message`. replaced: the keys of repeated fields that
    an earlier override has given members."""
    target: Any = message
    while True:
        name, *parts = parts
        field, repeated = _field(target, name, parts, override)
        if field is None:
            return
        if repeated and parts:
            index, *parts = parts
            held = getattr(target, name)
            place = _index(index, len(held), name, override)
            if parts:
                if field.message_type is None:
                    override.refuse(f"{name}.{index} holds a single value: end the path there.")
                target = held.add() if place == len(held) else held[place]
                continue
            _set_member(target, field, place, override)
            return
        if not parts:
            break
        if field.message_type is None:
            override.refuse(f"{name} holds a single value: end the path there.")
        target = getattr(target, name)
        target.SetInParent()
    if not repeated or key not in replaced:
        target.ClearField(name)
    replaced.add(key)
    _merge(target, _parsed(target, field, override, repeated), field.name, repeated)


def _field(
    message: Message, name: str, rest: list[str], override: Override
) -> tuple[FieldDescriptor | None, bool]:
    """The field called `name`, and whether it is repeated. A block that the schema does not know is
    put into the layer here, whole."""
    known = fields_of(message.DESCRIPTOR)
    if name in known:
        return known[name]
    if isinstance(message, pb.LayerParameter) and name.endswith("_param"):
        mine = any(block.name == name for block in message.unknown_param)
        if not rest and override.value[:1] in ("{", "<"):
            fresh = _built(f"{name} {override.value}", pb.LayerParameter(), override)
            kept = [block for block in message.unknown_param if block.name != name]
            del message.unknown_param[:]
            message.unknown_param.extend([*kept, *fresh.unknown_param])
            return None, False
        if mine:
            override.refuse(
                f"the schema does not know what {name} holds. Give the whole block: "
                f"--set '{override.text.partition(name)[0]}{name}={{ ... }}'."
            )
    hint = did_you_mean(name, known)
    if name.isdigit():
        hint = " An index stands behind the name of a repeated field only."
    override.refuse(
        f"'{name}' is not a field of {message.DESCRIPTOR.name}.{hint or ' Correct the path.'}"
    )


def _index(text: str, count: int, name: str, override: Override) -> int:
    if not text.isdecimal():
        override.refuse(
            f"{name} is repeated: expected an index before '{text}'. Write {name}.0.{text}."
        )
    if len(text) > 9 or int(text) > count:
        override.refuse(
            f"{name}: expected an index from 0 to {count}, of which {count} adds a member, got "
            f"{text}. Correct it."
        )
    return int(text)


def _set_member(message: Any, field: FieldDescriptor, place: int, override: Override) -> None:
    """Replaces or adds one member of a repeated field."""
    held = getattr(message, field.name)
    found = getattr(_parsed(message, field, override, False), field.name)
    if len(found) != 1:
        override.refuse(f"{field.name}: expected one value, got {len(found)}. Leave out the index.")
    if place == len(held):
        held.extend(found)
    elif field.message_type is None:
        held[place] = found[0]
    else:
        held[place].CopyFrom(found[0])


def _merge(message: Any, fresh: Any, name: str, repeated: bool) -> None:
    if repeated:
        getattr(message, name).extend(getattr(fresh, name))
    else:
        message.MergeFrom(fresh)


def _parsed(message: Any, field: FieldDescriptor, override: Override, listed: bool) -> Any:
    """A message of the same type that has this one field, with the override's value. listed: the
    value may be a list."""
    fresh = type(message)()
    value = override.value
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and '"' not in value and "'" not in value:
        texts = [value]
        if listed and value.startswith("[") and value.endswith("]"):
            texts = [one.strip() for one in value[1:-1].split(",") if one.strip()]
        words = [one.encode() if field.type == FieldDescriptor.TYPE_BYTES else one for one in texts]
        if fields_of(message.DESCRIPTOR)[field.name][1]:
            getattr(fresh, field.name).extend(words)
        else:
            setattr(fresh, field.name, words[0])
        return fresh
    colon = "" if field.message_type is not None else ":"
    _built(f"{field.name}{colon} {value}", fresh, override)
    others = [other.name for other, _ in fresh.ListFields() if other.name != field.name]
    if others:
        override.refuse(
            f"{field.name}: expected one value, got more behind it ('{others[0]}'). Give each "
            "field its own --set."
        )
    return fresh


class _Value(Scan):
    """A value on the command line: errors name the option instead of line and column."""

    def where(self, offset: int) -> str:
        return self.source


def _built(text: str, message: M, override: Override) -> M:
    Builder(_Value(text, override.where), message).run()
    return message
