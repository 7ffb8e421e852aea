"""Unknown `..._param { }` blocks as Python values, for layers that are not part of the schema."""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError
from caffepy.proto.scan import Scan, Token, unquote
from caffepy.proto.values import shown

# Field names and indices from the block in: ("shape", 0, "dim", 1).
Path = tuple[str | int, ...]

_PLACED_DEPTH = 16  # of nested fields: the path of one far deeper is long, and nobody declares it
_OPENING, _CLOSING = ("{", "<"), ("}", ">")
_WORDS = {"true": True, "false": False}
_NOT_FINITE = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}


def values(layer: pb.LayerParameter, name: str) -> dict[str, Any]:
    """The fields of a layer's unknown block, or {} where the layer has no such block.

    Numbers are int or float, quoted strings and bare words str, true and false bool, blocks dict.
    A field that is given more than once, or as [ ... ], is a list.
    Raises: PrototxtError.
    """
    return read(layer, name)[0]


def read(layer: pb.LayerParameter, name: str) -> tuple[dict[str, Any], dict[Path, str]]:
    """The fields of a layer's unknown block as `values` gives them, and where each of them and each
    member of a list stands, as file:line:column. Raises: PrototxtError."""
    found: dict[str, Any] = {}
    places: dict[Path, str] = {}
    for block in layer.unknown_param:
        if block.name == name:
            scan = Scan(
                block.text, layer.source_file or "<text>", block.line or 1, block.column + 1
            )
            _Reader(scan, f"layer '{layer.name}': {name}", places).run(found)
    return found, places


class _Reader:
    def __init__(self, scan: Scan, where: str, places: dict[Path, str]) -> None:
        self._scan = scan
        self._where = where
        self._places = places
        self._at = 0

    def run(self, into: dict[str, Any]) -> None:
        # a stack of our own: depth is the file's choice
        stack: list[tuple[dict[str, Any], Path]] = [(into, ())]
        while (token := self._next()).kind != "end":
            fields, path = stack[-1]
            if token.text in _CLOSING and len(stack) > 1:
                stack.pop()
            elif token.text in (",", ";") and fields:
                continue
            elif token.kind != "name":
                self._fail(token, "a field name")
            else:
                colon = self._skip(":")
                if self._skip(*_OPENING):
                    inner: dict[str, Any] = {}
                    stack.append((inner, self._add(fields, path, token, token.text, inner)))
                elif not colon:
                    self._fail(self._next(), f"':' after '{token.text}'")
                elif self._skip("["):
                    self._list(fields, path, token)
                else:
                    self._add(fields, path, token, token.text, self._scalar())

    def _list(self, fields: dict[str, Any], path: Path, name: Token) -> None:
        if not isinstance(fields.get(name.text), list):
            fields[name.text] = [fields[name.text]] if name.text in fields else []
        while not self._skip("]"):
            token = self._scan.tokens[self._at]
            self._add(fields, path, token, name.text, self._scalar())
            if not self._skip(",") and self._scan.tokens[self._at].text != "]":
                self._fail(self._next(), "',' or ']'")

    def _add(self, fields: dict[str, Any], path: Path, token: Token, name: str, value: Any) -> Path:
        """Puts a value that stands at `token` among the fields at `path`; returns its path."""
        index = 0
        if name in fields:
            if not isinstance(fields[name], list):
                fields[name] = [fields[name]]
            index = len(fields[name])
            fields[name].append(value)
        else:
            fields[name] = value
        place: Path = (*path, name, index)
        if len(path) < _PLACED_DEPTH:
            self._places[place] = self._scan.where(token.start)
        return place

    def _scalar(self) -> Any:
        sign = -1 if self._skip("-") else 1
        token = self._next()
        if token.kind == "number":
            try:
                return sign * _number(token.text)
            except ValueError:
                self._fail(token, "a number")
        if sign < 0 and token.text.lower() in _NOT_FINITE:
            return -_NOT_FINITE[token.text.lower()]
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


def _number(text: str) -> int | float:
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,18}", text):
        return int(text, 0)
    return float(text[:-1] if text[-1] in "fF" else text)
