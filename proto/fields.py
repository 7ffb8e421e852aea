"""Facts about fields, and copies of messages without the fields that are ours alone."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

# Numbers that caffe.proto gives to the forks' clashing fields and enum values, and to our notes.
PRIVATE_NUMBERS = range(20000, 30000)
# What the text reader adds to a layer. A prototxt cannot say these itself.
SOURCE_NOTES = ("source_file", "source_line", "source_type")
NOTES = (*SOURCE_NOTES, "unknown_param")


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether the field is repeated, on every protobuf runtime from 3.20 to 7."""
    try:
        return bool(field.is_repeated)
    except AttributeError:  # before protobuf 6; the stubs know only the newer name
        return bool(getattr(field, "label") == FieldDescriptor.LABEL_REPEATED)  # noqa: B009


def strip_private(message: M) -> M:
    """A copy without fields and enum values of private numbers: what may go into a binary file."""
    copy = copied(message)
    _clear_private(copy)
    return copy


def strip_notes(message: M) -> M:
    """A copy whose layers do not say which file and line they were read from."""
    copy = copied(message)
    _clear_source_notes(copy)
    return copy


def copied(message: M) -> M:
    """An equal message of its own."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _clear_private(message: Message) -> None:
    for field, value in message.ListFields():
        if field.number in PRIVATE_NUMBERS:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if is_repeated(field) else (value,):
                _clear_private(child)
        elif field.enum_type is not None:
            if is_repeated(field):
                value[:] = [number for number in value if number not in PRIVATE_NUMBERS]
            elif value in PRIVATE_NUMBERS:
                message.ClearField(field.name)


def _clear_source_notes(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name in SOURCE_NOTES:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if is_repeated(field) else (value,):
                _clear_source_notes(child)
