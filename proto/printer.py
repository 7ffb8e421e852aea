"""Messages to text, as Caffe prints them: fields by number, two blanks a level, short numbers."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffepy.proto.fields import SOURCE_NOTES, is_repeated
from caffepy.proto.scan import PATH_START

_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\]")
_UNSAFE_BYTE = re.compile(r"[\x00-\x1f\x7f-\xff\"\\]")


def lines(message: Message, indent: str = "") -> Iterator[str]:
    """The lines of a message, without the source notes, each with its line end."""
    for field, value in message.ListFields():
        if field.name in SOURCE_NOTES:
            continue
        for item in value if is_repeated(field) else (value,):
            if field.name == "unknown_param":
                yield f"{indent}{item.name} {{{item.text}}}\n"
            elif field.message_type is not None:
                yield f"{indent}{field.name} {{\n"
                yield from lines(item, indent + "  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{field.name}: {_scalar(field, item)}\n"


def _scalar(field: FieldDescriptor, value: Any) -> str:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return "true" if value else "false"
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        enum: Any = field.enum_type
        known = enum.values_by_number.get(value)
        return str(value) if known is None else str(known.name)
    if kind == FieldDescriptor.CPPTYPE_FLOAT:
        return _shortest(value, "<f", 6)
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return _shortest(value, "<d", 15)
    if isinstance(value, bytes):
        return _quoted(value.decode("latin-1"), _UNSAFE_BYTE)
    if isinstance(value, str):
        return _quoted(value, _UNSAFE)
    return str(value)


def _quoted(value: str, unsafe: re.Pattern[str]) -> str:
    text = unsafe.sub(_escape, value)
    if re.match(PATH_START, text):  # ".\n": our reader would take the escape for a path
        text = f"\\{ord(text[0]):03o}{text[1:]}"
    return f'"{text}"'


def _shortest(value: float, layout: str, digits: int) -> str:
    """The fewest digits that give the same number back."""
    if math.isfinite(value):
        packed = struct.pack(layout, value)
        while struct.pack(layout, float(f"{value:.{digits}g}")) != packed:
            digits += 1
    return f"{value:.{digits}g}"


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _ESCAPES.get(character) or f"\\{ord(character):03o}"
