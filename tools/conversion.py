"""Turning a list of images into a database, which goes on where it was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from caffepy.tools.stored_image import ImageOptions

if TYPE_CHECKING:
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data.db import Writer

LOG_EVERY = 1000  # images
TOGETHER = 8  # images that a thread reads at a time
LISTED = 20  # unreadable images that are listed again at the end

Size = tuple[int, ...]  # height, width, channels


class Read(NamedTuple):
    """record: of an image.  size: of that.  warnings: what is odd about it."""

    record: bytes | bytearray | DataError
    size: Size = ()
    warnings: Sequence[str] = ()


# Gives what was read of an image of the list, by its place there; raises DataError where it cannot
# be read.
Reader = Callable[[int], Read]


class Listed(Protocol):
    """A list of images."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The image's file name, without the root folder."""

    def line(self, index: int) -> int:
        """The number of the image's line, from 1."""


@dataclass(frozen=True)
class Images:
    """The images to convert, numbered as they come.

    order: their places in the list.  failure: what is said of one that cannot be read.  what:
    what is read of each.  remedy: where nothing can be read at all.
    """

    root_folder: str
    list_file: str
    listed: Listed
    order: Sequence[int]
    reader: Reader
    failure: str = "could not open or find file"
    what: str = "images"
    remedy: str = "Check ROOT_FOLDER and the file names."

    def path(self, number: int) -> Path:
        return rooted(self.root_folder, self.listed.name(self.order[number]))

    def line(self, number: int) -> int:
        return self.listed.line(self.order[number])

    def key(self, number: int) -> bytes:
        name = self.listed.name(self.order[number])
        return f"{number:08d}_{name}".encode("utf-8", "surrogateescape")

    def read(self, number: int) -> tuple[int, Read]:
        """The number, and what was read, or why there is nothing."""
        from caffepy.engine.core.errors import DataError

        try:
            return number, self.reader(self.order[number])
        except DataError as error:
            return number, Read(error)


def rooted(root_folder: str, name: str) -> Path:
    """The path of a file of the list."""
    return Path(root_folder) / name.lstrip("/") if root_folder else Path(name)


def in_order_of(listed: Listed, shuffled_by: str) -> Sequence[int]:
    """The places of a list, shuffled by the command of this name, or as they are for ''."""
    from caffepy.engine.core import log
    from caffepy.engine.core.random import Stream

    if not shuffled_by:
        return range(len(listed))
    log.info("Shuffling data")
    order: list[int] = Stream(0, shuffled_by, "shuffle").permutation(0, len(listed)).tolist()
    return order


def stamp(list_file: str, *told: object) -> str:
    """A word for a conversion: equal for equal lists and what else is told."""
    words = "\0".join(map(str, (Path(list_file).resolve(), *told, "")))
    content = words.encode("utf-8", "surrogateescape") + Path(list_file).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def write(
    images: Images,
    db_name: str,
    options: ImageOptions,
    *,
    backend: str,
    stamp: str,
    check_size: bool,
    threads: int,
) -> int:
    """Writes the database; returns the number of images in it. stamp: '' not to go on.

    Raises: DataError where the database is unfit, or no image at all can be read.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data.db import create_db
    from caffepy.engine.data.in_order import in_order
    from caffepy.tools.task import Task

    total = len(images.order)
    log.info(f"A total of {total} images.")
    if options.encode_type and not options.encoded:
        log.info("encode_type specified, assuming encoded=true.")
    unread: list[int] = []  # by number
    first_size: Size = ()
    with create_db(db_name, backend, stamp) as writer, _how_to_go_on(writer):
        finished = sorted(int(key.partition(b"_")[0]) for key in writer.written())
        first = finished[-1] + 1 if finished else 0
        if finished:
            log.info(f"Going on after {first} images, which an interrupted run has read.")
            unread += sorted(set(range(first)).difference(finished))
            first_size = images.read(finished[0])[1].size
        count = len(finished)
        work = in_order(images.read, range(first, total), threads, together=TOGETHER)
        with Task("images", total, done=first) as task:
            for number, (record, size, warnings) in work:
                task.advance()
                for warning in warnings:
                    log.warning(warning)
                if isinstance(record, DataError):
                    where = f"{images.list_file}:{images.line(number)}"
                    log.warning(f"{where}: {images.failure} {record}")
                    unread.append(number)
                    continue
                first_size = first_size or size
                if check_size and size != first_size:
                    raise DataError(
                        f"{images.path(number)}: expected {first_size} (height, width, channels), "
                        f"the size of the images before, got {size}. Give --resize_width and "
                        "--resize_height."
                    )
                writer.put(images.key(number), record)
                count += 1
                if count % LOG_EVERY == 0:
                    log.info(f"Processed {count} files.")
        lost = [f"{images.path(number)} (line {images.line(number)})" for number in unread]
        if not count:
            raise DataError(
                f"{images.list_file}: none of the {total} {images.what} could be read, the first "
                f"being {lost[0]}. {images.remedy}"
            )
    if count % LOG_EVERY:
        log.info(f"Processed {count} files.")
    if lost:
        more = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
        log.warning(
            f"{len(lost)} of {total} {images.what} could not be read and are not in {db_name}: "
            f"{', '.join(lost[:LISTED])}{more}"
        )
    return count


@contextmanager
def _how_to_go_on(writer: Writer) -> Iterator[None]:
    """Says of an interrupted conversion how to go on with it."""
    from caffepy.engine.core import log

    try:
        yield
    except KeyboardInterrupt:
        if writer.resume:
            log.info(f"What was read is kept in {writer.partial}. The same command goes on there.")
        raise
