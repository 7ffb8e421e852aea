"""One token as the value of one scalar field: what each field type takes, and what is said when
it gets something else."""

from __future__ import annotations

import math
import re
from functools import cache

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from caffepy.proto.errors import did_you_mean
from caffepy.proto.scan import Token, unquote
from caffepy.proto.typenames import V1_TO_TYPE

Scalar = bool | int | float | str | bytes

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1, "int32"),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1, "int64"),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1, "uint32"),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1, "uint64"),
}
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_BOOLS = {"true": True, "True": True, "t": True, "1": True}
_BOOLS |= {"false": False, "False": False, "f": False, "0": False}
_INTEGER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_FLOAT = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?")
_NO_OCTAL = "A leading 0 means an octal number: leave it out."
_MAX_DIGITS = 30  # no field takes more, and Python refuses to convert thousands


class BadValue(Exception):
    """args: what was expected and got, and the remedy (may be empty)."""


def wanted(field: FieldDescriptor) -> str:
    """In words, what the field takes."""
    kind = field.cpp_type
    if kind in _INTEGERS:
        return "a whole number"
    if kind in _FLOATS:
        return "a number"
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return "one of " + ", ".join(_enum_values(field.enum_type))
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return "a block { ... }"
    return "a quoted string"


def convert(field: FieldDescriptor, tokens: list[Token], negative: bool) -> Scalar:
    """The value of a field.

    tokens: one, or several adjacent strings. negative: a minus stands before.
    Raises: BadValue.
    """
    token = tokens[0]
    kind = field.cpp_type
    if kind in _INTEGERS:
        return _integer(field, token, negative)
    if kind in _FLOATS:
        return _float(field, token, negative)
    if not negative:
        if kind == FieldDescriptor.CPPTYPE_BOOL and token.text in _BOOLS:
            return _BOOLS[token.text]
        if kind == FieldDescriptor.CPPTYPE_STRING and token.kind in ("string", "path"):
            return _string(field, tokens)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, token, negative)
    raise _bad(field, token, negative)


def shown(token: Token, negative: bool = False) -> str:
    """The token, as it is quoted in an error."""
    if token.kind == "end":
        return "the end of the file"
    text = token.text if len(token.text) <= 40 else token.text[:37] + "..."
    return f"'{'-' if negative else ''}{text}'"


def _integer(field: FieldDescriptor, token: Token, negative: bool) -> int:
    low, high, name = _INTEGERS[field.cpp_type]
    text = token.text
    if token.kind != "number" or not _INTEGER.fullmatch(text):
        raise _bad(field, token, negative)
    octal = _is_octal(text)
    if octal and not set(text) <= set("01234567"):
        raise _bad(field, token, negative, _NO_OCTAL)
    if len(text) > _MAX_DIGITS:
        raise _bad(field, token, negative)
    value = int(text, 8) if octal else int(text, 0)
    value = -value if negative else value
    if not low <= value <= high:
        raise _bad(field, token, negative, f"A {name} is from {low} to {high}.")
    return value


def _is_octal(text: str) -> bool:
    return len(text) > 1 and text[0] == "0" and text.isdigit()


def _float(field: FieldDescriptor, token: Token, negative: bool) -> float:
    if _is_octal(token.text):  # 010 is 8 to some protobuf versions and refused by others
        raise _bad(field, token, negative, _NO_OCTAL)
    if token.kind == "number" and _FLOAT.fullmatch(token.text):
        value = float(token.text.rstrip("fF"))
    elif token.kind == "name" and token.text.lower() in ("inf", "infinity"):
        value = math.inf
    elif token.kind == "name" and token.text.lower() == "nan":
        value = math.nan
    else:
        raise _bad(field, token, negative)
    return -value if negative else value


def _string(field: FieldDescriptor, tokens: list[Token]) -> str | bytes:
    value = b"".join(map(unquote, tokens))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _enum(field: FieldDescriptor, token: Token, negative: bool) -> int:
    """Also takes the name in quotes, as some V1 nets have it."""
    values = _enum_values(field.enum_type)
    name = token.text[1:-1] if token.kind in ("string", "path") else token.text
    if not negative:
        if name in values:
            return values[name]
        if token.kind == "number" and _INTEGER.fullmatch(name) and len(name) <= _MAX_DIGITS:
            number = int(name) if name.isdigit() else int(name, 16)
            if number in values.values():
                return number
    raise _bad(field, token, negative, did_you_mean(name, values).strip())


@cache
def _enum_values(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def _bad(field: FieldDescriptor, token: Token, negative: bool, remedy: str = "") -> BadValue:
    if not remedy and field.cpp_type == FieldDescriptor.CPPTYPE_STRING and token.kind == "name":
        # A V1 enum name where the current form has a string is the usual mix-up.
        of_type = field.full_name == "caffepy.LayerParameter.type"
        word = V1_TO_TYPE.get(token.text, token.text) if of_type else token.text
        remedy = f'Write {field.name}: "{word}".'
    got = "nothing" if token.text in ("}", ">", ";", ",") else shown(token, negative)
    return BadValue(f"{field.name}: expected {wanted(field)}, got {got}", remedy)
