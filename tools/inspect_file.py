"""caffepy inspect: what is inside a file of Caffe's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from caffepy.tools.file_content import Content

NAME_LETTERS = 40
_COLUMNS = ("name", "kind", "shape", "dtype", "min", "max", "mean", "std", "zeros", "histogram")


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--records",
    type=click.IntRange(0),
    default=1000,
    metavar="N",
    help="Records of a database to look at, 0 for all. [default: 1000]",
)
@click.option("--net", is_flag=True, help="Print the net of weights too, as a prototxt.")
def command(paths: tuple[str, ...], as_json: bool, records: int, net: bool) -> None:
    """Tells what is inside each FILE: weights, solver states, means and HDF5 data, the folders of
    LMDB and LevelDB, and numpy's files.

    For every array: shape, type, range, mean, standard deviation, the part that is zero and a
    histogram of 16 parts from min to max. Blocks that a fork numbers in its own way are told by the
    types of their layers, with the number, and what is of unknown meaning by its number.
    """
    from caffepy.engine.core.errors import DataError

    found = {path: inspect(Path(path), records) for path in paths}
    for path, content in found.items():
        if net and not content.net:
            raise DataError(
                f"{path}: --net: expected a .caffemodel, got {content.kind}, which does not hold "
                "the net. Leave --net out."
            )
    if as_json:
        told = [
            {"file": path, **plain(content), **({"net": content.net} if net else {})}
            for path, content in found.items()
        ]
        click.echo(json.dumps(told[0] if len(told) == 1 else told, indent=2))
        return
    for path, content in found.items():
        for line in lines(path, content, _letters()):
            click.echo(line)
        if net:
            click.echo(content.net, nl=False)


def inspect(path: Path, records: int = 1000) -> Content:
    """The content of a file or database. Raises: CaffepyError."""
    from caffepy.engine.core.errors import DataError
    from caffepy.tools.db_content import read_database
    from caffepy.tools.file_content import read_file
    from caffepy.tools.task import Task

    for backend, mark in (("lmdb", "data.mdb"), ("leveldb", "CURRENT")):
        if (path / mark).is_file():
            with Task("records") as task:
                return read_database(path, backend, records, task.advance)
    if path.is_dir():
        raise DataError(
            f"{path}: expected a file or the folder of a database, got a folder without data.mdb "
            "(lmdb) and CURRENT (leveldb). Name what is in it."
        )
    with Task("arrays") as task:
        return read_file(path, task.advance)


def plain(content: Content) -> dict[str, Any]:
    """For JSON."""
    entries = [entry.plain() for entry in content.entries]
    return {"kind": content.kind, **content.facts, "arrays": entries}


def _letters() -> str:
    """What histograms are drawn with, as far as the output can show it."""
    from caffepy.tools.array_statistics import ASCII_BARS, BARS

    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII_BARS
    return BARS


def lines(path: str, content: Content, letters: str) -> Iterator[str]:
    """A content as text. letters: of histograms."""
    from caffepy.engine.table import printed

    yield f"{path}: {content.kind}"
    for name, fact in content.facts.items():
        several = isinstance(fact, dict)
        told = ", ".join(f"{one} ({count})" for one, count in fact.items()) if several else fact
        yield f"  {name}: {told}"
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for entry in content.entries:
        shape = " x ".join(map(str, entry.shape)) or "-"
        head = (entry.name, entry.kind, shape, entry.dtype)
        found = entry.statistics
        if found is None:
            rows.append((*head, *[""] * (len(_COLUMNS) - len(head))))
            continue
        numbers = (found.minimum, found.maximum, found.mean, found.std)
        zeros, bars = f"{found.zeros / found.count:.1%}", f"|{found.bars(letters)}|"
        rows.append((*head, *(f"{number:.4g}" for number in numbers), zeros, bars))
    if content.entries:
        yield from (f"  {line}" for line in printed(rows, letters=NAME_LETTERS))
    for entry in content.entries:
        if entry.statistics and entry.statistics.not_finite:
            yield f"  {entry.name}: {entry.statistics.not_finite} values are nan or inf"
