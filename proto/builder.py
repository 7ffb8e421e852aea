"""Tokens to messages, guided by the schema.

An own reader instead of protobuf's: that one knows no forks, keeps no lines, stops at the first
unknown field, and says neither which layer nor what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError, did_you_mean
from caffepy.proto.fields import NOTES, is_repeated
from caffepy.proto.scan import Scan, Token
from caffepy.proto.values import BadValue, convert, shown, wanted

# Field names and indices from the outermost message in: ("layer", 3, "pooling_param", 0, "pad", 0).
Path = tuple[str | int, ...]

_LAYERS = (pb.LayerParameter, pb.V1LayerParameter)
_CLOSING = {"{": "}", "<": ">"}
_FILES = (pb.NetParameter, pb.SolverParameter)


class LineIndex:
    """Where each field of a message was read."""

    def __init__(self, scan: Scan, offsets: dict[Path, int]) -> None:
        self._scan = scan
        self._offsets = offsets

    def line(self, path: Path) -> int:
        """The line of a field, from 1. Of a field that was not given: of the message it is in."""
        return self._scan.line(self._offset(path))

    def where(self, path: Path) -> str:
        """`file:line:column` of a field, as `line` finds it."""
        return self._scan.where(self._offset(path))

    def _offset(self, path: Path) -> int:
        while path and path not in self._offsets:
            path = path[:-2]
        return self._offsets.get(path, 0)


@dataclass
class _Frame:
    """A message that is being read."""

    message: Message
    path: Path
    name: str = ""  # the field that holds the message
    opening: Token | None = None
    in_list: bool = False  # one of several in [ ... ]
    given: dict[str, Token] = field(default_factory=dict)  # singular fields read so far


@cache
def fields_of(descriptor: Descriptor) -> dict[str, tuple[FieldDescriptor, bool]]:
    """The fields that text may give, each with whether it is repeated."""
    return {f.name: (f, is_repeated(f)) for f in descriptor.fields if f.name not in NOTES}


class Builder:
    """Reads a scan's tokens into a message.

    After `run`, `offsets` says where each field stands. Layers hold the file and line they come
    from, and the `..._param` blocks that the schema does not know. Raises: PrototxtError.
    """

    def __init__(self, scan: Scan, message: Message) -> None:
        self.offsets: dict[Path, int] = {}
        self._scan = scan
        self._tokens = scan.tokens
        self._at = 0
        self._stack = [_Frame(message, ())]  # a stack of our own: depth is the file's choice

    def run(self) -> None:
        while (token := self._tokens[self._at]).kind != "end":
            if token.kind == "name":
                self._field(token)
            elif token.text in ("}", ">"):
                self._close(token)
            else:
                self._unexpected(token)
        if len(self._stack) > 1:
            self._unclosed(self._stack[-1].opening, self._stack[-1].name)

    def _field(self, token: Token) -> None:
        frame = self._stack[-1]
        known = fields_of(frame.message.DESCRIPTOR).get(token.text)
        if known is None:
            self._unknown(frame, token)
            return
        descriptor, repeated = known
        if not repeated:
            earlier = frame.given.setdefault(token.text, token)
            if earlier is not token:
                line = self._scan.line(earlier.start)
                self._fail(
                    token, f"'{token.text}' is given twice, first in line {line}. Remove one."
                )
        self._at += 1
        colon = self._skip(":")
        if descriptor.message_type is not None:
            in_list = repeated and self._skip("[")
            if in_list and self._skip("]"):
                self._separator()
            else:
                self._open(descriptor, repeated, token, in_list)
            return
        if not colon:
            self._no_colon(descriptor, token)
        if repeated and self._skip("["):
            self._list(frame, descriptor, token)
        else:
            self._scalar(frame, descriptor, repeated, token)
        self._separator()

    def _list(self, frame: _Frame, descriptor: FieldDescriptor, name: Token) -> None:
        opening = self._tokens[self._at - 1]
        if self._skip("]"):
            return
        while True:
            self._scalar(frame, descriptor, True, name)
            if self._skip("]"):
                return
            if not self._skip(","):
                if self._tokens[self._at].kind == "end":
                    self._unclosed(opening, name.text)
                self._no_comma(name.text)

    def _scalar(
        self, frame: _Frame, descriptor: FieldDescriptor, repeated: bool, name: Token
    ) -> None:
        start = self._at
        negative = self._skip("-")
        values = [self._tokens[self._at]]
        self._at += 1
        while values[0].kind in ("string", "path") and self._tokens[self._at].kind in (
            "string",
            "path",
        ):
            values.append(self._tokens[self._at])
            self._at += 1
        try:
            value = convert(descriptor, values, negative)
        except BadValue as error:
            self._bad_value(descriptor, self._tokens[start], values[0], *error.args)
        held: Any = getattr(frame.message, descriptor.name)
        path = (*frame.path, descriptor.name, len(held) if repeated else 0)
        self.offsets[path] = name.start
        if repeated:
            held.append(value)
        else:
            setattr(frame.message, descriptor.name, value)
        if descriptor.name == "type" and isinstance(frame.message, _LAYERS):
            frame.message.source_type = self._scan.where(values[0].start)

    def _open(
        self, descriptor: FieldDescriptor, repeated: bool, name: Token, in_list: bool
    ) -> None:
        opening = self._tokens[self._at]
        if opening.text not in _CLOSING:
            self._fail(
                opening,
                f"{descriptor.name}: expected a block {{ ... }}, got {shown(opening)}. Write "
                f"{descriptor.name} {{ ... }}.",
            )
        self._at += 1
        parent = self._stack[-1]
        held: Any = getattr(parent.message, descriptor.name)
        path = (*parent.path, descriptor.name, len(held) if repeated else 0)
        self.offsets[path] = name.start
        if repeated:
            message = held.add()
        else:
            message = held
            message.SetInParent()
        if isinstance(message, _LAYERS):
            message.source_file = self._scan.source
            message.source_line = self._scan.line(name.start)
        self._stack.append(_Frame(message, path, descriptor.name, opening, in_list))

    def _close(self, token: Token) -> None:
        frame = self._stack[-1]
        if frame.opening is None:
            self._fail(
                token, f"{shown(token)} closes nothing: all blocks are closed already. Remove it."
            )
        wanted_text = _CLOSING[frame.opening.text]
        if token.text != wanted_text:
            line = self._scan.line(frame.opening.start)
            self._fail(
                token,
                f"'{frame.name}' was opened with '{frame.opening.text}' in line {line}:"
                f" expected '{wanted_text}', got '{token.text}'. Write '{wanted_text}'.",
            )
        self._at += 1
        self._stack.pop()
        if frame.in_list and self._skip(","):
            descriptor, _ = fields_of(self._stack[-1].message.DESCRIPTOR)[frame.name]
            self._open(descriptor, True, self._tokens[self._at], True)
            return
        if frame.in_list and not self._skip("]"):
            self._no_comma(frame.name)
        self._separator()

    def _unknown(self, frame: _Frame, token: Token) -> None:
        """Keeps an unknown `..._param` block of a layer; refuses anything else."""
        after = 2 if self._tokens[self._at + 1].text == ":" else 1
        opening = self._tokens[min(self._at + after, len(self._tokens) - 1)]
        message = frame.message
        if (
            isinstance(message, _LAYERS)
            and token.text.endswith("_param")
            and opening.text in _CLOSING
        ):
            self._at += after
            end = self._block_end(token.text)
            text = self._scan.text[opening.start + 1 : end.start]
            line, column = self._scan.line(opening.start), self._scan.column(opening.start)
            message.unknown_param.add(name=token.text, text=text, line=line, column=column)
            self._separator()
            return
        self._unknown_field(frame, token)

    def _block_end(self, name: str) -> Token:
        """Goes behind the block that starts here, and returns what closes it."""
        open_blocks: list[Token] = []
        while True:
            token = self._tokens[self._at]
            if token.kind in ("bad", "open_string"):
                self._unexpected(token)
            if token.kind == "end":
                self._unclosed(open_blocks[-1], name)
            self._at += 1
            if token.text in _CLOSING:
                open_blocks.append(token)
            elif token.text in ("}", ">"):
                if token.text != _CLOSING[open_blocks.pop().text]:
                    self._fail(
                        token, f"'{token.text}' does not fit what '{name}' has open. Correct it."
                    )
                if not open_blocks:
                    return token

    def _skip(self, symbol: str) -> bool:
        token = self._tokens[self._at]
        if token.text == symbol:  # no string or name equals a symbol
            self._at += 1
            return True
        return False

    def _separator(self) -> None:
        if not self._skip(","):
            self._skip(";")

    # What follows only words errors.

    def _unknown_field(self, frame: _Frame, token: Token) -> NoReturn:
        kind = frame.message.DESCRIPTOR.name
        hints = did_you_mean(token.text, fields_of(frame.message.DESCRIPTOR))
        for other in _FILES if len(self._stack) == 1 else ():
            if token.text in fields_of(other.DESCRIPTOR) and not isinstance(frame.message, other):
                what = "solver" if other is pb.SolverParameter else "net"
                hints = f" It belongs to a {what}: is this the right file?"
        if any(token.text in fields_of(f.message.DESCRIPTOR) for f in self._stack[:-1]):
            line = self._scan.line(frame.opening.start) if frame.opening else 1
            hints += f" Or is the '}}' of '{frame.name}' missing, opened in line {line}?"
        hints = hints or " Remove it, or correct its name."
        self._fail(token, f"'{token.text}' is not a field of {kind}.{hints}")

    def _bad_value(
        self, descriptor: FieldDescriptor, first: Token, value: Token, what: str, remedy: str
    ) -> NoReturn:
        after = self._tokens[min(self._at, len(self._tokens) - 1)]
        if value.kind in ("bad", "open_string"):
            self._unexpected(value)
        if value.kind == "end" or value.text in ("}", ">", ";", ","):
            remedy = f"Give {descriptor.name} a value."
        elif value.kind == "name" and after.text in (":", "{"):
            remedy = f"The value of {descriptor.name} seems to be missing."
        elif value.text in _CLOSING:
            remedy = f"{descriptor.name} is no block."
        self._fail(first, f"{what}. {remedy or 'Correct it.'}")

    def _no_colon(self, descriptor: FieldDescriptor, name: Token) -> NoReturn:
        token = self._tokens[self._at]
        if token.kind in ("bad", "open_string"):
            self._unexpected(token)
        remedy = f"Write '{name.text}: ...', with {wanted(descriptor)}."
        self._fail(token, f"expected ':' after '{name.text}', got {shown(token)}. {remedy}")

    def _unexpected(self, token: Token) -> NoReturn:
        if token.kind == "open_string":
            self._fail(
                token, f"the string {shown(token)} is not closed on its line. End it with a quote."
            )
        if self._scan.text.startswith("//", token.start):
            self._fail(token, "expected a field name, got '//'. A comment starts with '#'.")
        if token.kind == "bad":
            code = f"U+{ord(token.text):04X}"
            self._fail(
                token, f"expected a field name or value, got {token.text!r} ({code}). Remove it."
            )
        if self._scan.text.lstrip()[:1] in ("<", "{"):
            self._fail(
                token,
                f"expected a field name, got {shown(token)}. The file looks like HTML or JSON: "
                "fetch it again, or give a prototxt.",
            )
        self._fail(token, f"expected a field name, got {shown(token)}. Remove or complete it.")

    def _no_comma(self, name: str) -> NoReturn:
        token = self._tokens[self._at]
        self._fail(token, f"{name}: expected ',' or ']', got {shown(token)}. Put one there.")

    def _unclosed(self, opening: Token | None, name: str) -> NoReturn:
        assert opening is not None
        self._fail(
            opening, f"the '{opening.text}' of '{name}' is not closed by the end of file. Close it."
        )

    def _fail(self, token: Token, what: str) -> NoReturn:
        raise PrototxtError(f"{self._scan.where(token.start)}: {self._in_layer()}{what}")

    def _in_layer(self) -> str:
        """`layer 'conv1': `, where a layer is being read and has a name before or after here."""
        depth = len(self._stack)
        while depth and not isinstance(
            self._stack[depth - 1].message, (*_LAYERS, pb.V0LayerParameter)
        ):
            depth -= 1
        if not depth:
            return ""
        layer: Any = self._stack[depth - 1].message
        return f"layer '{name}': " if (name := layer.name or self._name_ahead(depth)) else ""

    def _name_ahead(self, depth: int) -> str:
        """The layer's name, if it stands behind the error. depth: of the layer in the stack."""
        level = len(self._stack) - depth
        for first, _, value in zip(
            self._tokens[self._at :],
            self._tokens[self._at + 1 :],
            self._tokens[self._at + 2 :],
            strict=False,
        ):
            if first.text in _CLOSING:
                level += 1
            elif first.text in ("}", ">"):
                level -= 1
            if level < 0:
                break
            if level == 0 and first.text == "name" and value.kind == "string":
                return value.text[1:-1]
        return ""
