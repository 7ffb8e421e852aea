"""caffepy create_label_map: names of classes and their labels as a prototxt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from caffepy.proto.caffe_pb2 import LabelMap

BACKGROUND = "none_of_the_above", 0, "background"


@click.command()
@click.argument("map_file")
@click.argument("out_file")
@click.option(
    "--include_background/--no-include_background",
    help="Begin with the class none_of_the_above, label 0.",
)
@click.option(
    "--delimiter", default=" ", help="What is between fields: one of these. [default: ' ']"
)
def command(map_file: str, out_file: str, include_background: bool, delimiter: str) -> None:
    """Writes the classes that MAP_FILE names into OUT_FILE, a LabelMap prototxt.

    Each line of MAP_FILE has a name, or a name and a label, or a name, a label and what the class
    is called in pictures. Where there are no labels, classes are counted, the first being 0.
    """
    from caffepy.engine.files import written_whole
    from caffepy.proto import text

    made = label_map(Path(map_file), include_background, delimiter)
    with written_whole(Path(out_file)) as temporary:
        temporary.write_text(text.write(made), encoding="utf-8", newline="\n")


def label_map(path: Path, include_background: bool = False, delimiter: str = " ") -> LabelMap:
    """The label map of a file.

    Names and labels that it has twice are warned of.  Raises: DataError where it cannot be read, or
    its lines have not the same number of fields.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.proto.caffe_pb2 import LabelMap

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"it is no UTF-8 ({error})"
        raise DataError(f"{path}: the classes cannot be read: {reason}. Fix the file.") from None
    made, width = LabelMap(), 0
    names, labels = set[str](), set[int]()
    if include_background:
        name, label, display_name = BACKGROUND
        made.item.add(name=name, label=label, display_name=display_name)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = _split(line.strip(), delimiter)
        width = width or len(fields)
        if len(fields) != width or width > 3:
            wanted = f"{width} fields, as in the lines before" if width <= 3 else "1 to 3 fields"
            raise DataError(
                f"{path}:{number}: expected {wanted}, with one of '{delimiter}' between them, got "
                f"{len(fields)}: '{line}'. Fix the line, or give another --delimiter."
            )
        name = fields[0]
        item = made.item.add(name=name, display_name=fields[2] if width == 3 else name)
        try:
            item.label = int(fields[1]) if width > 1 else len(made.item) - 1
        except ValueError:
            raise DataError(
                f"{path}:{number}: expected a whole number as label, got '{fields[1]}'. Fix the "
                "line, or give another --delimiter."
            ) from None
    for item in made.item:
        if item.name in names or item.label in labels:
            log.warning(
                f"{path}: the name '{item.name}' or its label {item.label} is of two classes: no "
                "tool can tell them apart."
            )
        names.add(item.name)
        labels.add(item.label)
    return made


def _split(line: str, delimiter: str) -> list[str]:
    """The fields between any of the characters of `delimiter`."""
    for character in delimiter[1:]:
        line = line.replace(character, delimiter[0])
    return line.split(delimiter[0]) if delimiter else [line]
