"""Files that say where objects are in an image: PASCAL VOC's XML, COCO's JSON, and plain text.

They are read as the SSD fork's convert_annoset reads them, into the AnnotationGroups of a record:
boxes in shares of the image, one group for a label, in order of first appearance. XML and JSON of
anybody's are data: entities, and documents that define some, are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.image_list import MAX_LABEL
from caffepy.proto.caffe_pb2 import Annotation, AnnotationGroup
from caffepy.proto.errors import PrototxtError

MOST_BYTES = 1 << 26  # of a file
KINDS = ("xml", "json", "txt")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_MOST_PIXELS = 1e9  # of a side; more than any image has
_LENGTHS = ("height", "width")
_ENCODING = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_WHOLE = re.compile("[+-]?[0-9]{1,18}")


@dataclass
class Annotations:
    """groups: of a record.  warnings: what is odd, each beginning with the file's name."""

    groups: list[AnnotationGroup] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(
    path: Path, name: str, kind: str, size: tuple[int, int], labels: Mapping[str, int]
) -> Annotations:
    """What a file of one of KINDS says of an image of `size` (height, width). name: of the file, in
    messages.  labels: of class names, for XML and JSON.

    Raises: DataError where the file cannot be read or understood, beginning with `name`;
    PrototxtError for a class name that has no label.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{name}: expected an annotation, got {path.stat().st_size} bytes.")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}. Fix the name.") from None
    reader = _Reader(name, size, labels)
    if kind == "xml":
        reader.read_xml(data)
    elif kind == "json":
        reader.read_json(data)
    else:
        reader.read_text(data)
    return reader.found


class _Reader:
    def __init__(self, name: str, size: tuple[int, int], labels: Mapping[str, int]) -> None:
        self.name = name
        self.image_size = size
        self.size = size  # that boxes are divided by
        self.labels = labels
        self.found = Annotations()

    def read_xml(self, data: bytes) -> None:
        """`<difficult>` counts where it stands before `<bndbox>`, as in the fork."""
        root = self._parsed_xml(data)
        if root.tag != "annotation":
            self._refuse("an <annotation>", f"<{root.tag}>")
        self._take_size("annotation.size", [root.findtext(f"size/{side}") for side in _LENGTHS])
        for element in root.iterfind("object"):
            annotation: Annotation | None = None
            difficult = False
            if element.find("name") is not None and element.find("bndbox") is None:
                self._warn("an object has no <bndbox>: its box is 0, as in the fork.")
            for part in element:
                content = (part.text or "").strip()
                if part.tag == "name":
                    annotation = self._add(self._label(content))
                elif part.tag == "difficult":
                    difficult = content == "1"
                elif part.tag == "bndbox":
                    if annotation is None:
                        self._refuse("a <name> before <bndbox>", "none")
                    sides = [self._number(side, part.findtext(side)) for side in _SIDES]
                    self._set(annotation, sides, difficult)

    def read_json(self, data: bytes) -> None:
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            self._refuse("JSON", f"other text ({error})")
        if not isinstance(content, dict) or not isinstance(content.get("annotation"), list):
            whole = isinstance(content, dict) and "annotations" in content
            got = '"annotations", those of a whole set (write a file for each image)'
            self._refuse('an object with a list "annotation"', got if whole else "none")
        image = content.get("image")
        image = image if isinstance(image, dict) else {}
        self._take_size("image", [image.get(side) for side in _LENGTHS])
        for number, item in enumerate(content["annotation"]):
            box = item.get("bbox") if isinstance(item, dict) else None
            if not isinstance(box, list) or len(box) != 4 or "category_id" not in item:
                self._refuse('a "category_id" and a "bbox" of 4 numbers', f"none in {number}")
            annotation = self._add(self._label(str(item["category_id"])))
            left, top, width, height = (self._number("bbox", value) for value in box)
            crowd = self._number("iscrowd", item.get("iscrowd", 0))
            self._set(annotation, [left, top, left + width, top + height], bool(crowd))

    def read_text(self, data: bytes) -> None:
        """Lines of a label, a whole number, and four sides."""
        known = set(self.labels.values())
        most, fractions = -math.inf, False
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 5 or not _WHOLE.fullmatch(words[0]) or abs(int(words[0])) > MAX_LABEL:
                self._refuse("label xmin ymin xmax ymax", f"'{line[:80]}' in line {number}")
            label = int(words[0])
            if known and label not in known:
                self._warn(f"label {label} in line {number} is not in the label map.")
            sides = [self._number(side, word) for side, word in zip(_SIDES, words[1:], strict=True)]
            numbers = [float(side) for side in sides]
            most = max(most, *numbers)
            fractions = fractions or not all(number.is_integer() for number in numbers)
            self._set(self._add(label), sides, False)
        if fractions and most <= 1:
            self._warn("no side is above 1: expected pixels, these look like shares of the image.")

    def _parsed_xml(self, data: bytes, encoding: str | None = None) -> ElementTree.Element:
        """encoding: in place of that which the text says it has."""
        builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate(encoding)
        parser.StartElementHandler = builder.start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            self._refuse("XML", f"other text ({error})")
        except (LookupError, ValueError):  # expat knows no encoding of several bytes but Unicode's
            stated = _ENCODING.match(data)
            try:
                text = data.decode(stated[1].decode() if stated else "")
            except (LookupError, ValueError) as error:
                self._refuse("XML in an encoding that is known", f"another ({error})")
            return self._parsed_xml(text.encode("utf-8", "replace"), "utf-8")
        return builder.close()

    def _refuse_doctype(self, *_: object) -> None:
        self._refuse("XML without <!DOCTYPE>, which may make endless text of a short one", "one")

    def _take_size(self, where: str, lengths: list[Any]) -> None:
        """The height and width that the file states, or else the image's."""
        height, width = self.image_size
        for side, length in zip(_LENGTHS, lengths, strict=True):
            if length is None:
                self._warn_of_size(f"No such node ({where}.{side})")
                return
            try:
                stated = float(length)
            except (TypeError, ValueError, OverflowError):
                stated = math.nan
            if not stated.is_integer():
                self._warn_of_size(f"conversion of '{length}' to a whole number failed")
                return
            if stated <= 0:
                self._refuse(f"a {side} of at least 1", f"{length}")
            if stated != (height if side == "height" else width):
                self._warn(f"inconsistent image {side}.")
            if side == "height":
                height = int(stated)
            else:
                width = int(stated)
        self.size = height, width

    def _warn(self, what: str) -> None:
        self.found.warnings.append(f"{self.name} {what}")

    def _warn_of_size(self, problem: str) -> None:
        self.found.warnings.append(f"When parsing {self.name}: {problem}")

    def _label(self, class_name: str) -> int:
        if class_name not in self.labels:
            known = ", ".join(sorted(self.labels)[:20])
            raise PrototxtError(
                f"{self.name}: Unknown name: '{class_name}': expected one of the label map's "
                f"({known}). Add it there, or correct the annotation."
            )
        return self.labels[class_name]

    def _add(self, label: int) -> Annotation:
        """A new annotation in the group of a label."""
        for group in self.found.groups:
            if group.group_label == label:
                return group.annotation.add(instance_id=group.annotation[-1].instance_id + 1)
        group = AnnotationGroup(group_label=label)
        self.found.groups.append(group)
        return group.annotation.add(instance_id=0)

    def _set(self, annotation: Annotation, sides: list[np.float32], difficult: bool) -> None:
        """Sets the box, sides being in pixels, in float32 as in the fork."""
        height, width = self.size
        lengths = (width, height, width, height)
        pairs = list(zip(sides, lengths, strict=True))
        if any(not 0 <= side <= length for side, length in pairs):
            self._warn("bounding box exceeds image boundary.")
        if sides[0] > sides[2] or sides[1] > sides[3]:
            self._warn("bounding box irregular.")
        shares = [float(side / np.float32(length)) for side, length in pairs]
        box = annotation.bbox
        box.xmin, box.ymin, box.xmax, box.ymax = shares
        box.difficult = difficult

    def _number(self, what: str, value: Any) -> np.float32:
        try:
            number: float = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not abs(number) <= _MOST_PIXELS:
            self._refuse(f"a number as {what}", "none" if value is None else f"'{value}'")
        single: np.float32 = np.float32(number)
        return single

    def _refuse(self, expected: str, got: str) -> NoReturn:
        raise DataError(
            f"{self.name}: expected {expected}, got {got}. Correct the file, or take it off the "
            "list."
        )
