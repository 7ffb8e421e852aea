"""Pages of docs/layers.md out of docstrings: what is said there in prose, as tables.

The docstring of a layer's class has this form, in paragraphs:

    What the layer computes, a formula where there is one.

    bottom[0]: shape and meaning   top[0]: the same, behind three spaces or on a line of its own
    blobs[0]: the same
    some_param: field (default): meaning; field, field (default): meaning of both; field (default)

    Whatever else there is to say.

    Raises: errors, and when.
    Differs: from Caffe, or from the fork that has the layer, in what.
    Source: where it comes from.

    Example: bottom (shape), bottom (shape) -> top (shape)
        layer { ... }

A field without a default must be given. "the others" or "all fields" speaks of every field that is
not named. A layer that reads no block says "There are no fields."
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from caffepy.engine.core.layer import Layer
from caffepy.engine.known_types import is_caffes
from caffepy.proto.caffe_pb2 import LayerParameter
from caffepy.proto.fields import PRIVATE_NUMBERS, is_repeated

NO_FIELDS = "There are no fields."
REST = ("the others", "all fields")
_BLOB = re.compile(r"((?:the last (?:\w+ )*?)?(?:bottom|top|blob)s?\b[^:;`(]*): +(.*)")
_BLOCK = re.compile(r"(\w+_param): +(.*)")
_LABEL = re.compile(r"(Raises|Differs|Source): +(.*)")
_EXAMPLE = re.compile(r"Example: +(.*?) ?-> ?(.*)")
_NAMES = re.compile(r"(\w+)(?: \((.*)\))?")
_SHAPE = re.compile(r"(\w+) \(([\d, ]*)\)")
_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: "int", FieldDescriptor.CPPTYPE_INT64: "int",
    FieldDescriptor.CPPTYPE_UINT32: "int, from 0", FieldDescriptor.CPPTYPE_UINT64: "int, from 0",
    FieldDescriptor.CPPTYPE_DOUBLE: "float", FieldDescriptor.CPPTYPE_FLOAT: "float",
    FieldDescriptor.CPPTYPE_BOOL: "bool", FieldDescriptor.CPPTYPE_STRING: "string",
}  # fmt: skip

Shapes = list[tuple[str, tuple[int, ...]]]


class PageError(Exception):
    """A docstring is not of the form that pages are made from."""


@dataclass
class Field:
    """A field as the docstring tells of it. default: None where it must be given."""

    name: str
    default: str | None
    meaning: str


@dataclass
class Block:
    """A block of fields. reference: where they are told of, when not here. rest: what is said of
    all fields that are not named."""

    name: str
    fields: list[Field] = field(default_factory=list)
    rest: str = ""
    reference: str = ""

    @property
    def message(self) -> Descriptor:
        """The schema's message."""
        return cast(Descriptor, LayerParameter.DESCRIPTOR.fields_by_name[self.name].message_type)

    def unnamed(self) -> list[str]:
        """The fields of Caffe's that the docstring does not name."""
        named = {item.name for item in self.fields}
        return [
            item.name
            for item in self.message.fields
            if item.name not in named and item.number not in PRIVATE_NUMBERS
        ]


@dataclass
class Page:
    """What the docstring of a class says."""

    title: str
    origin: str = "Caffe"  # what it may differ from
    formula: str = ""
    blobs: list[tuple[str, str]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    without_fields: bool = False
    notes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)  # Raises, Differs, Source
    example: str = ""  # prototxt
    bottoms: Shapes = field(default_factory=list)  # of the example
    tops: Shapes = field(default_factory=list)


def read_page(title: str, documented: type) -> Page:
    """The page of a class. Raises: PageError where its docstring is not of the form."""
    of_fork = issubclass(documented, Layer) and not is_caffes(title)
    page = Page(title, "the fork" if of_fork else "Caffe")
    paragraphs = (inspect.getdoc(documented) or "").split("\n\n")
    page.formula = _joined(paragraphs[0])
    for paragraph in paragraphs[1:]:
        if example := _EXAMPLE.match(paragraph):
            page.bottoms, page.tops = (_shapes(title, text) for text in example.groups())
            page.example = textwrap.dedent(paragraph.partition("\n")[2])
            continue
        for kind, name, text in _parts(paragraph):
            if kind == "blob":
                page.blobs.append((name, text))
            elif kind == "block":
                page.blocks.append(_read_block(title, name, text))
            elif kind == "label":
                page.labels[name] = text
            elif text == NO_FIELDS:
                page.without_fields = True
            else:
                page.notes.append(text)
    return page


def _parts(paragraph: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, text) of what a paragraph says."""
    kind, name, text = "", "", ""
    for chunk in re.split(r"\n|   +", paragraph):
        started = _start(chunk)
        if started is None:
            text = f"{text} {chunk}".strip()
            continue
        if text:
            yield kind, name, text
        kind, name, text = started
    yield kind, name, text


def _start(chunk: str) -> tuple[str, str, str] | None:
    """(kind, name, text) where something new begins; None where the last one goes on."""
    for kind, pattern in (("blob", _BLOB), ("block", _BLOCK), ("label", _LABEL)):
        if match := pattern.fullmatch(chunk):
            return kind, match[1], match[2]
    return ("note", "", chunk) if chunk == NO_FIELDS else None


def _read_block(title: str, name: str, text: str) -> Block:
    if name not in LayerParameter.DESCRIPTOR.fields_by_name:
        raise PageError(f"{title}: {name}: expected a block of the schema")
    block = Block(name)
    if text.startswith("see "):
        block.reference = text
        return block
    for item in _split(text, ";"):
        names, *rest = _split(item, ":")
        meaning = ": ".join(rest)
        if names in REST:
            block.rest = meaning
            continue
        for part in _split(names, ","):
            match = _NAMES.fullmatch(part)
            if match is None:
                raise PageError(f"{title}: {name}: expected `field (default)`, got '{part}'")
            block.fields.append(Field(match[1], match[2], meaning))
    return block


def _split(text: str, separator: str) -> list[str]:
    """The parts of `text` between separators that stand outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _shapes(title: str, text: str) -> Shapes:
    """`x (2, 3), label (2)` as names and shapes."""
    found = [
        (name, tuple(int(size) for size in sizes.split(",") if size.strip()))
        for name, sizes in _SHAPE.findall(text)
    ]
    if _SHAPE.sub("", text).strip(", "):
        raise PageError(f"{title}: Example: expected `name (sizes)`, got '{text}'")
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())


# ---- Markdown


def markdown(page: Page) -> str:
    """The page as a section."""
    parts = [f"## {page.title}", _escaped(page.formula)]
    if page.blobs:
        rows = [f"| {_coded(name)} | {_cell(text)} |" for name, text in page.blobs]
        parts.append("\n".join(("| blob | shape and meaning |", "|---|---|", *rows)))
    parts += [_fields(block) for block in page.blocks]
    if page.without_fields:
        parts.append(NO_FIELDS)
    parts += [_escaped(note) for note in page.notes]
    differs = f"Differs from {page.origin}"
    for label, title in (("Raises", "Raises"), ("Differs", differs), ("Source", "Source")):
        if label in page.labels:
            parts.append(f"**{title}:** {_escaped(page.labels[label])}")
        elif label == "Differs" and page.example:
            parts.append(f"**{title}:** in nothing known.")
    if page.example:
        shapes = " ".join(
            f"{word} `{', '.join(f'{name} {_sizes(shape)}' for name, shape in blobs)}`"
            for word, blobs in (("from", page.bottoms), ("to", page.tops))
            if blobs
        )
        parts.append(f"Example, {shapes}:\n\n```\n{page.example}\n```")
    return "\n\n".join(parts) + "\n"


def _fields(block: Block) -> str:
    if block.reference:
        return f"Fields of `{block.name}`: see [Transformations](#transformations)."
    rows = [
        f"| `{item.name}` | {_type(block.message.fields_by_name[item.name])} | "
        f"{'must be given' if item.default is None else _cell(item.default)} | "
        f"{_cell(item.meaning)} |"
        for item in block.fields
    ]
    if block.rest:
        rows.append(f"| {'other' if block.fields else 'all'} fields | | | {_cell(block.rest)} |")
    head = f"Fields of `{block.name}`:"
    return "\n".join((head, "", "| field | type | default | meaning |", "|---|---|---|---|", *rows))


def _type(field_: FieldDescriptor) -> str:
    """What kind of value a field takes."""
    if field_.message_type is not None:
        name = f"`{field_.message_type.name}`"
    else:
        name = "enum" if field_.enum_type is not None else _SCALARS[field_.cpp_type]
    return f"{name}; repeated" if is_repeated(field_) else name


def _sizes(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _escaped(text: str) -> str:
    """`text` without what Markdown would take for its own outside of `code`."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"(?<! )\*|\*(?! )|<", r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def _coded(label: str) -> str:
    """A label with the names of blobs as code."""
    return re.sub(r"\w+\[\w+\]", r"`\g<0>`", label)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")
