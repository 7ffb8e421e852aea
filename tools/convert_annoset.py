"""caffepy convert_annoset: images and the boxes of objects in them into a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffepy.tools.common import conversion_options
from caffepy.tools.conversion import LISTED, Images, Read, in_order_of, rooted, stamp, write
from caffepy.tools.stored_image import ImageOptions, StoredImage, stored_image

if TYPE_CHECKING:
    from caffepy.engine.data.annotation_list import AnnotationList
    from caffepy.proto.caffe_pb2 import AnnotationGroup

NO_LABEL = -1  # of the image itself, where boxes have labels


@dataclass(frozen=True)
class AnnotationOptions:
    """detection: boxes, else a label per image.  label_type: xml, json or txt.  label_map_file: the
    labels of class names.  check_label: refuse names that it has twice."""

    detection: bool = False
    label_type: str = "xml"
    label_map_file: str = ""
    check_label: bool = False


@click.command()
@click.argument("root_folder")
@click.argument("list_file")
@click.argument("db_name")
@click.option("--gray/--no-gray", help="Store gray images instead of color ones.")
@click.option("--shuffle/--no-shuffle", help="Shuffle the images, always in the same way.")
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@click.option(
    "--anno_type",
    type=click.Choice(["classification", "detection"]),
    default="classification",
    help="What follows an image in the list: a label, or a file of boxes. [default: "
    "classification]",
)
@click.option(
    "--label_type",
    type=click.Choice(["xml", "json", "txt"]),
    default="xml",
    help="What files of boxes are: PASCAL VOC's XML, COCO's JSON of one image, or lines of label "
    "xmin ymin xmax ymax. [default: xml]",
)
@click.option("--label_map_file", default="", help="Names and labels, see create_label_map.")
@click.option("--check_label/--no-check_label", help="Stop at a name that the map has twice.")
@click.option("--min_dim", default=0, help="Enlarge images whose shorter side is less.")
@click.option("--max_dim", default=0, help="Shrink images whose longer side is more.")
@conversion_options
def command(
    root_folder: str,
    list_file: str,
    db_name: str,
    gray: bool,
    shuffle: bool,
    backend: str,
    anno_type: str,
    label_type: str,
    label_map_file: str,
    check_label: bool,
    min_dim: int,
    max_dim: int,
    resize_width: int,
    resize_height: int,
    check_size: bool,
    encoded: bool,
    encode_type: str,
    threads: int,
    resume: bool,
) -> None:
    """Puts the images that LIST_FILE names, with their boxes or labels, into the new DB_NAME.

    Each line of LIST_FILE has an image file and a file of boxes, or a label. Files are relative to
    ROOT_FOLDER. Images that cannot be read are listed and left out. A conversion that was
    interrupted goes on when the same command is given again.
    """
    run(
        root_folder,
        list_file,
        db_name,
        ImageOptions(
            gray,
            resize_width,
            resize_height,
            encoded,
            encode_type,
            max(0, min_dim),
            max(0, max_dim),
        ),
        AnnotationOptions(anno_type == "detection", label_type, label_map_file, check_label),
        shuffle=shuffle,
        backend=backend,
        check_size=check_size,
        threads=threads,
        resume=resume,
    )


def run(
    root_folder: str,
    list_file: str,
    db_name: str,
    options: ImageOptions,
    annotation: AnnotationOptions,
    *,
    shuffle: bool = False,
    backend: str = "lmdb",
    check_size: bool = False,
    threads: int = 1,
    resume: bool = True,
) -> int:
    """Writes the database; returns the number of images in it.

    Raises: DataError where the list or the database is unfit, or no image at all can be read;
    PrototxtError where the label map is, or has no label for a class.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data.annotation_list import AnnotationList
    from caffepy.engine.data.image_list import ImageList

    options.check()
    bare: list[str] = []  # annotation files that do not exist
    what, remedy = "images", "Check ROOT_FOLDER and the file names."
    if annotation.detection:
        labels = read_label_map(annotation)
        pairs = AnnotationList(Path(list_file))
        listed: AnnotationList | ImageList = pairs
        reader = _boxed(root_folder, pairs, options, annotation, labels, bare)
        what = "images with their boxes"
        remedy = "Check ROOT_FOLDER, the file names and --label_type."
    else:
        try:
            listed = images = ImageList(Path(list_file))
        except DataError as error:
            raise DataError(f"{error} For files of boxes give --anno_type detection.") from None

        def reader(index: int) -> Read:
            stored = stored_image(rooted(root_folder, images.name(index)), options)
            return Read(_record(stored, int(images.labels[index]), None), stored.size)

    told = list_file, root_folder, options, annotation, shuffle
    count = write(
        Images(
            root_folder,
            list_file,
            listed,
            in_order_of(listed, "convert_annoset" if shuffle else ""),
            reader,
            "failed to read",
            what,
            remedy,
        ),
        db_name,
        options,
        backend=backend,
        stamp=stamp(*told) if resume else "",
        check_size=check_size,
        threads=threads,
    )
    if bare:
        more = f" and {len(bare) - LISTED} more" if len(bare) > LISTED else ""
        log.warning(
            f"{len(bare)} images have no boxes in {db_name}, since their annotations do not exist: "
            f"{', '.join(sorted(bare)[:LISTED])}{more}"
        )
    return count


def read_label_map(annotation: AnnotationOptions) -> Mapping[str, int]:
    """The labels of class names. Raises: DataError, PrototxtError."""
    from caffepy.engine.core.errors import DataError
    from caffepy.proto import text
    from caffepy.proto.caffe_pb2 import LabelMap
    from caffepy.proto.errors import PrototxtError

    file = annotation.label_map_file
    if not file:
        if annotation.label_type == "txt":
            return {}
        raise DataError(
            "--label_map_file: expected a label map, since annotations have class names, got none. "
            "Give it; create_label_map makes one."
        )
    labels: dict[str, int] = {}
    for item in text.read(file, LabelMap).item:
        if annotation.check_label and item.name in labels:
            raise PrototxtError(
                f"{file}: There are many duplicates of name: '{item.name}': expected one of each. "
                "Remove the others, or leave out --check_label: then the last one counts."
            )
        labels[item.name] = item.label
    return labels


def _boxed(
    root_folder: str,
    listed: AnnotationList,
    options: ImageOptions,
    annotation: AnnotationOptions,
    labels: Mapping[str, int],
    bare: list[str],
) -> Callable[[int], Read]:
    """What reads the images of a list with their boxes; names of annotations that do not exist go
    to `bare`."""
    from caffepy.engine.data import annotations

    def read(index: int) -> Read:
        stored = stored_image(rooted(root_folder, listed.name(index)), options)
        name = root_folder + listed.annotation(index)
        path = rooted(root_folder, listed.annotation(index))
        found = annotations.Annotations()
        if os.path.exists(path):  # unlike path.exists(), whatever the name
            found = annotations.read(path, name, annotation.label_type, stored.own_size, labels)
        else:
            bare.append(name)
        return Read(_record(stored, NO_LABEL, found.groups), stored.size, found.warnings)

    return read


def _record(stored: StoredImage, label: int, groups: list[AnnotationGroup] | None) -> bytes:
    """The bytes of an AnnotatedDatum, of whose image the size is told in any case."""
    from caffepy.engine.data import datum

    if isinstance(stored.image, bytes):
        return datum.annotated(datum.serialized_file(stored.image, label, stored.size), groups)
    return datum.annotated(datum.serialized_pixels(stored.image, label), groups)
