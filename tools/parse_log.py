"""caffepy parse_log: the train and test outputs of a training log as CSV tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import click

from caffepy.tools.log_table import open_log, rows


@click.command()
@click.argument("logfile_path")
@click.argument("output_dir")
@click.option("--verbose/--no-verbose", help="Say what is written.")
@click.option("--delimiter", default=",", metavar="CHAR", help="Between columns. [default: ,]")
def command(logfile_path: str, output_dir: str, verbose: bool, delimiter: str) -> None:
    """Writes the tables of LOGFILE_PATH, caffepy's or Caffe's log, to OUTPUT_DIR: NAME.train and
    NAME.test, where NAME is the log's own name.

    The columns are those of tools/extra/parse_log.py: NumIters, Seconds, LearningRate, and the
    outputs. LearningRate is what the log told last before a row.
    """
    if len(delimiter) != 1:
        raise click.UsageError(f"--delimiter: expected one character, got '{delimiter}'.")
    table = open_log(logfile_path)
    for phase in ("train", "test"):
        file = Path(output_dir) / f"{Path(logfile_path).name}.{phase}"
        found = rows(table.outputs, phase)
        if found:
            write(file, found, delimiter)
        if verbose:
            click.echo(f"Wrote {file}" if found else f"Not writing {file}; no lines to write")


def write(path: Path, table: Sequence[dict[str, float]], delimiter: str = ",") -> None:
    """Writes rows as CSV, under a line of all their columns' names. Raises: SaveError."""
    from caffepy.engine.files import written_whole

    columns = list(dict.fromkeys(name for row in table for name in row))
    with (
        written_whole(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
