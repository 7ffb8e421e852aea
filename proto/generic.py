"""Unknown `..._param { }` blocks as Python values, for layers that are not part of the schema."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError
from caffepy.proto.scan import Scan, Token, unquote
from caffepy.proto.values import shown

_OPENING, _CLOSING = ("{", "<"), ("}", ">")
_WORDS = {"true": True, "false": False}


def values(layer: pb.LayerParameter, name: str) -> dict[str, Any]:
    """The fields of a layer's unknown block, or {} where the layer has no such block.

    Numbers are int or float, quoted strings and bare words str, true and false bool, blocks dict.
    A field that is given more than once, or as [ ... ], is a list.
    Raises: PrototxtError.
    """
    found: dict[str, Any] = {}
    for block in layer.unknown_param:
        if block.name == name:
            scan = Scan(block.text, layer.source_file or "<text>", block.line or 1)
            _Reader(scan, f"layer '{layer.name}': {name}").run(found)
    return found


class _Reader:
    def __init__(self, scan: Scan, where: str) -> None:
        self._scan = scan
        self._where = where
        self._at = 0

    def run(self, into: dict[str, Any]) -> None:
        stack = [into]  # a stack of our own: depth is the file's choice
        while (token := self._next()).kind != "end":
            if token.text in _CLOSING and len(stack) > 1:
                stack.pop()
            elif token.text in (",", ";") and stack[-1]:
                continue
            elif token.kind != "name":
                self._fail(token, "a field name")
            else:
                colon = self._skip(":")
                if self._skip(*_OPENING):
                    inner: dict[str, Any] = {}
                    _add(stack[-1], token.text, inner)
                    stack.append(inner)
                elif not colon:
                    self._fail(self._next(), f"':' after '{token.text}'")
                elif self._skip("["):
                    stack[-1][token.text] = [*_listed(stack[-1].get(token.text, [])), *self._list()]
                else:
                    _add(stack[-1], token.text, self._scalar())

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not self._skip("]"):
            items.append(self._scalar())
            if not self._skip(",") and self._scan.tokens[self._at].text != "]":
                self._fail(self._next(), "',' or ']'")
        return items

    def _scalar(self) -> Any:
        sign = -1 if self._skip("-") else 1
        token = self._next()
        if token.kind == "number":
            try:
                return sign * (int(token.text, 0) if _is_whole(token.text) else float(token.text))
            except ValueError:
                self._fail(token, "a number")
        if sign < 0 or token.kind not in ("name", "string", "path"):
            self._fail(token, "a value")
        if token.kind == "name":
            return _WORDS.get(token.text, token.text)
        text = unquote(token)
        while self._scan.tokens[self._at].kind in ("string", "path"):
            text += unquote(self._next())
        return text.decode("utf-8", "replace")

    def _next(self) -> Token:
        token = self._scan.tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _skip(self, *symbols: str) -> bool:
        skipped = self._scan.tokens[self._at].text in symbols
        self._at += skipped
        return skipped

    def _fail(self, token: Token, wanted: str) -> NoReturn:
        place = self._scan.where(token.start)
        raise PrototxtError(f"{place}: {self._where}: expected {wanted}, got {shown(token)}.")


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,18}", text) is not None


def _add(fields: dict[str, Any], name: str, value: Any) -> None:
    fields[name] = [*_listed(fields[name]), value] if name in fields else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
