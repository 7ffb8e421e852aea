"""caffepy get_image_size: names and sizes of images, a name_size_file."""

from __future__ import annotations

from pathlib import Path

import click

from caffepy.tools.common import reader_threads_option
from caffepy.tools.conversion import LOG_EVERY, TOGETHER, rooted


@click.command()
@click.argument("root_folder")
@click.argument("list_file")
@click.argument("out_file")
@click.option("--name_id_file", default="", help="Lines of a name and the number to write for it.")
@reader_threads_option
def command(
    root_folder: str, list_file: str, out_file: str, name_id_file: str, threads: int
) -> None:
    """Writes the name, height and width of each image that LIST_FILE names into OUT_FILE.

    Each line of LIST_FILE has an image file and an annotation file, or a label. The name is that of
    the image file, without folder and type: what `name_size_file` names has this form.
    """
    run(root_folder, list_file, out_file, name_id_file, threads)


def run(
    root_folder: str, list_file: str, out_file: str, name_id_file: str = "", threads: int = 1
) -> int:
    """Writes the file; returns the number of images.

    Raises: DataError where a list or an image cannot be read, or an image has no number.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import images
    from caffepy.engine.data.annotation_list import AnnotationList
    from caffepy.engine.data.in_order import in_order
    from caffepy.engine.files import written_whole
    from caffepy.tools.task import Task

    listed = AnnotationList(Path(list_file))
    log.info(f"A total of {len(listed)} images.")
    numbers: dict[str, str] = {}
    if name_id_file:
        given = AnnotationList(Path(name_id_file))
        numbers = {given.name(index): given.annotation(index) for index in range(len(given))}

    def read(index: int) -> str:
        path = rooted(root_folder, listed.name(index))
        name = path.stem
        if numbers and name not in numbers:
            raise DataError(
                f"{name_id_file}: expected a number for '{name}', line {listed.line(index)} of "
                f"'{list_file}', got none. Add it."
            )
        height, width = images.decode(images.read(path, str(path)), str(path), color=True).shape[:2]
        return f"{numbers.get(name, name)} {height} {width}\n"

    lines: list[str] = []
    with Task("images", len(listed)) as task:
        for line in in_order(read, range(len(listed)), threads, together=TOGETHER):
            lines.append(line)
            task.advance()
            if len(lines) % LOG_EVERY == 0:
                log.info(f"Processed {len(lines)} files.")
    with written_whole(Path(out_file)) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
    if len(lines) % LOG_EVERY:
        log.info(f"Processed {len(lines)} files.")
    return len(lines)
