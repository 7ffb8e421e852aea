"""gflags' spellings of options."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from caffepy.tools.arguments import normalise, option_table


@click.command()
@click.option("--solver")
@click.option("--resize_width", type=int)
@click.option("--shuffle/--no-shuffle")
@click.option("--gray/--no-gray", default=True)
def command() -> None:
    """A command."""


OPTIONS = option_table(command)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--solver x", "--solver x"),
        ("-solver x", "--solver x"),
        ("-solver=x", "--solver x"),
        ("--solver=a=b", "--solver a=b"),
        ("-resize-width=3", "--resize_width 3"),
        ("-shuffle list db", "--shuffle list db"),
        ("-noshuffle", "--no-shuffle"),
        ("--noshuffle", "--no-shuffle"),
        ("--no-shuffle", "--no-shuffle"),
        ("-gray=false", "--no-gray"),
        ("-gray=true", "--gray"),
        ("--gray=0", "--no-gray"),
        ("a -solver -x", "a --solver -x"),
        ("-- -solver x", "-- -solver x"),
        ("-unknown=1", "--unknown=1"),
        ("-h", "-h"),
    ],
)
def test_every_spelling_becomes_the_same_option(given: str, wanted: str) -> None:
    assert normalise(given.split(), OPTIONS) == wanted.split()


def test_a_switch_refuses_what_is_neither_true_nor_false() -> None:
    with pytest.raises(click.UsageError, match=r"--gray: expected true or false, got 'maybe'"):
        normalise(["-gray=maybe"], OPTIONS)


def test_a_flag_file_stands_for_its_lines(tmp_path: Path) -> None:
    flags = tmp_path / "flags"
    flags.write_text("-solver='my solver.prototxt'  # the one\n--noshuffle\n")
    wanted = ["--solver", "my solver.prototxt", "--no-shuffle", "db"]
    assert normalise([f"--flagfile={flags}", "db"], OPTIONS) == wanted
    assert normalise(["-flagfile", str(flags), "db"], OPTIONS) == wanted


def test_a_missing_flag_file_is_named() -> None:
    with pytest.raises(click.UsageError, match=r"--flagfile 'none': cannot be read"):
        normalise(["--flagfile=none"], OPTIONS)
