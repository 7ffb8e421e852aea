"""docs/tools.md: followed from an empty folder, and complete."""

from __future__ import annotations

import os
import re

import click
import cv2
import pytest

from caffepy.tools import cli
from tests.tutorial import ROOT, Tutorial

TEXT = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    # a net this small is no faster on more threads, and much slower where others want them too
    environment = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    tutorial = Tutorial(tmp_path_factory.mktemp("tools"), environment)
    tutorial.follow("tools.md")
    return tutorial


@pytest.mark.skipif(os.name != "posix", reason="the files of link_tools are others on Windows")
def test_the_text_does_what_it_says(followed: Tutorial) -> None:
    assert len(followed.printed) == TEXT.count("\n$ ")
    assert cv2.imread(str(followed.folder / "mean.png")).shape == (32, 32, 3)
    assert cv2.imread(str(followed.folder / "curves.png")).shape == (900, 800, 3)


def test_every_command_has_its_section_and_a_link_to_it() -> None:
    head, _, body = TEXT.partition("\nFor all of them:\n")
    assert set(re.findall(r"^## (\w+)$", body, re.MULTILINE)) == set(cli.COMMANDS)
    links = re.findall(r"\[(\w+)\]\(#(\w+)\)", head)
    assert {name for name, _ in links} == set(cli.COMMANDS)
    assert all(name == anchor for name, anchor in links)


def test_every_option_that_is_named_exists() -> None:
    context = click.Context(cli.caffepy)
    known = {"--help", "--flagfile"}
    for name in cli.COMMANDS:
        command = cli.caffepy.get_command(context, name)
        assert command is not None
        for option in command.params:
            known |= {*option.opts, *option.secondary_opts}
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    assert set(re.findall(r"(?<!\w)--[a-z][a-z_-]*", prose)) <= known
