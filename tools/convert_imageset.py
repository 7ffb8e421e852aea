"""caffepy convert_imageset: images and labels into a database."""

from __future__ import annotations

from pathlib import Path

import click

from caffepy.tools.common import reader_threads_option
from caffepy.tools.conversion import Images, Size, in_order_of, rooted, stamp, write
from caffepy.tools.stored_image import ImageOptions, stored_image


@click.command()
@click.argument("root_folder")
@click.argument("list_file")
@click.argument("db_name")
@click.option("--gray/--no-gray", help="Store gray images instead of color ones.")
@click.option("--shuffle/--no-shuffle", help="Shuffle images and labels, always in the same way.")
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@click.option("--resize_width", default=0, help="Width to resize images to.")
@click.option("--resize_height", default=0, help="Height to resize images to.")
@click.option("--check_size/--no-check_size", help="Stop at an image of another size.")
@click.option("--encoded/--no-encoded", help="Store compressed image files instead of pixels.")
@click.option("--encode_type", default="", help="Type of these files: png, jpg, ...")
@reader_threads_option
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Go on where the same conversion was interrupted, or start anew. [default: go on]",
)
def command(
    root_folder: str,
    list_file: str,
    db_name: str,
    gray: bool,
    shuffle: bool,
    backend: str,
    resize_width: int,
    resize_height: int,
    check_size: bool,
    encoded: bool,
    encode_type: str,
    threads: int,
    resume: bool,
) -> None:
    """Puts the images that LIST_FILE names, a file name and a label a line, into the new DB_NAME.

    File names are relative to ROOT_FOLDER. Images that cannot be read are listed and left out.
    A conversion that was interrupted goes on when the same command is given again.
    """
    options = ImageOptions(gray, resize_width, resize_height, encoded, encode_type)
    run(
        root_folder,
        list_file,
        db_name,
        options,
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
    options: ImageOptions | None = None,
    *,
    shuffle: bool = False,
    backend: str = "lmdb",
    check_size: bool = False,
    threads: int = 1,
    resume: bool = True,
) -> int:
    """Writes the database; returns the number of images in it.

    Raises: DataError where the list or the database is unfit, or no image at all can be read.
    """
<<<<<<< HEAD
=======
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data.db import create_db
    from caffepy.engine.data.in_order import in_order
    from caffepy.tools.task import Task

    options = options or ImageOptions()
    _check(options)
    images = _images(root_folder, list_file, options, shuffle)
    total = len(images.order)
    log.info(f"A total of {total} images.")
    if options.encode_type and not options.encoded:
        log.info("encode_type specified, assuming encoded=true.")
    unread: list[int] = []  # by number
    first_size: tuple[int, ...] = ()
    stamp = _stamp(list_file, root_folder, options, shuffle) if resume else ""
    with create_db(db_name, backend, stamp) as writer, _how_to_go_on(writer):
        finished = sorted(int(key.partition(b"_")[0]) for key in writer.written())
        first = finished[-1] + 1 if finished else 0
        if finished:
            log.info(f"Going on after {first} images, which an interrupted run has read.")
            unread += sorted(set(range(first)).difference(finished))
            first_size = images.read(finished[0])[2]
        count = len(finished)
        work = in_order(images.read, range(first, total), threads, together=TOGETHER)
        with Task("images", total, done=first) as task:
            for number, record, size in work:
                task.advance()
                if isinstance(record, DataError):
                    where = f"{list_file}:{images.line(number)}"
                    log.warning(f"{where}: could not open or find file {record}")
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
                f"{list_file}: none of the {total} images could be read, the first being "
                f"{lost[0]}. Check ROOT_FOLDER and the file names."
            )
    if count % LOG_EVERY:
        log.info(f"Processed {count} files.")
    if lost:
        more = f" and {len(lost) - LISTED} more" if len(lost) > LISTED else ""
        log.warning(
            f"{len(lost)} of {total} images could not be read and are not in {db_name}: "
            f"{', '.join(lost[:LISTED])}{more}"
        )
    return count


@dataclass(frozen=True)
class _Images:
    """The images to convert, numbered as they come.

    order: their places in the list.
    """

    root_folder: str
    listed: ImageList
    order: Sequence[int]
    options: ImageOptions

    def path(self, number: int) -> Path:
        name = self.listed.name(self.order[number])
        return Path(self.root_folder) / name.lstrip("/") if self.root_folder else Path(name)

    def line(self, number: int) -> int:
        return self.listed.line(self.order[number])

    def key(self, number: int) -> bytes:
        name = self.listed.name(self.order[number])
        return f"{number:08d}_{name}".encode("utf-8", "surrogateescape")

    def read(self, number: int) -> tuple[int, bytes | bytearray | DataError, tuple[int, ...]]:
        """The number, the record or why there is none, and the image's size."""
        from caffepy.engine.core.errors import DataError

        label = int(self.listed.labels[self.order[number]])
        try:
            return number, *read_image(self.path(number), label, self.options)
        except DataError as error:
            return number, error, ()


def _images(root_folder: str, list_file: str, options: ImageOptions, shuffle: bool) -> _Images:
    from caffepy.engine.core import log
    from caffepy.engine.core.random import Stream
>>>>>>> 2c52188f9fcddcbfb8e31754a18734d1ec7e49a8
    from caffepy.engine.data.image_list import ImageList

    options = options or ImageOptions()
    options.check()
    listed = ImageList(Path(list_file))

    def read(index: int) -> tuple[bytes, Size]:
        path = rooted(root_folder, listed.name(index))
        return read_image(path, int(listed.labels[index]), options)

    order = in_order_of(listed, "convert_imageset" if shuffle else "")
    return write(
        Images(root_folder, list_file, listed, order, read),
        db_name,
        options,
        backend=backend,
        stamp=stamp(list_file, root_folder, options, shuffle) if resume else "",
        check_size=check_size,
        threads=threads,
    )


<<<<<<< HEAD
def read_image(path: Path, label: int, options: ImageOptions) -> tuple[bytes, Size]:
=======
def _stamp(list_file: str, root_folder: str, options: ImageOptions, shuffle: bool) -> str:
    """A word for a conversion: equal for equal lists and options."""
    told = f"{Path(list_file).resolve()}\0{root_folder}\0{options}\0{shuffle}\0"
    content = told.encode("utf-8", "surrogateescape") + Path(list_file).read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


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


def read_image(
    path: Path, label: int, options: ImageOptions
) -> tuple[bytes | bytearray, tuple[int, ...]]:
>>>>>>> 2c52188f9fcddcbfb8e31754a18734d1ec7e49a8
    """The record of an image file, a serialized Datum, and the image's size (height, width,
    channels). Raises: DataError where it cannot be read or encoded."""
    from caffepy.engine.data import datum

<<<<<<< HEAD
    image = stored_image(path, options)
    return datum.serialized(image.data, label, None if image.encoded else image.shape), image.size
=======
    A file that is to be stored compressed is stored as it is where it has the wanted type, size and
    number of channels already.
    Raises: DataError where it cannot be read or encoded.
    """
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import datum, images

    data = images.read(path, str(path))
    own_type = _type(path.suffix.lstrip(".").lower())
    encoding = options.encoded or bool(options.encode_type)
    wanted_type = (options.encode_type or own_type).lower()
    if encoding and not options.width and own_type == _type(wanted_type):
        stored = images.decode(data, str(path))
        size = (*stored.shape[:2], *(stored.shape[2:] or (1,)))
        if size[2] == (1 if options.gray else 3):
            return datum.serialized_file(data, label), size
    image = images.decode(data, str(path), color=not options.gray)
    if options.width:
        image = images.resize(image, options.height, options.width)
    size = (*image.shape[:2], 1 if options.gray else 3)
    if not encoding:
        return datum.serialized_pixels(image, label), size
    if not wanted_type:
        raise DataError(f"{path}: its name does not tell its type: give --encode_type.")
    return datum.serialized_file(images.encode(image, wanted_type), label), size


def _type(extension: str) -> str:
    """One name for the extensions of one type."""
    return _SAME_TYPE.get(extension, extension)


def _check(options: ImageOptions) -> None:
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import images

    if options.encode_type and not images.can_encode(options.encode_type):
        raise DataError(
            f"--encode_type '{options.encode_type}': OpenCV cannot write such files. Use png or "
            "jpg."
        )
    if min(options.width, options.height) < 0 or bool(options.width) != bool(options.height):
        raise DataError(
            f"--resize_width {options.width}, --resize_height {options.height}: expected two sizes "
            "or neither. Give both."
        )
>>>>>>> 2c52188f9fcddcbfb8e31754a18734d1ec7e49a8
