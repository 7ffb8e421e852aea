"""create_label_map."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from caffepy.engine.core.errors import DataError
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LabelMap
from caffepy.tools import create_label_map
from tests.tools.invocation import invoke


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("cat\ndog\n", "", [("cat", 0, "cat"), ("dog", 1, "dog")]),
        (
            "cat\ndog",
            "--include_background",
            [("none_of_the_above", 0, "background"), ("cat", 1, "cat"), ("dog", 2, "dog")],
        ),
        ("cat 5\r\n\ndog 3\n", "-delimiter ' '", [("cat", 5, "cat"), ("dog", 3, "dog")]),
        ("n01:4;a cat", "--delimiter=:;", [("n01", 4, "a cat")]),
    ],
)
def test_a_label_map_of_names(
    tmp_path: Path, content: str, arguments: str, expected: list[tuple[str, int, str]]
) -> None:
    (tmp_path / "map.txt").write_bytes(content.encode())
    names = str(tmp_path / "map.txt"), str(tmp_path / "map.prototxt")
    invoke(create_label_map.command, *shlex.split(arguments), *names)
    items = text.read(tmp_path / "map.prototxt", LabelMap).item
    assert [(item.name, item.label, item.display_name) for item in items] == expected


def test_a_label_map_is_written_as_the_fork_writes_it(golden: Path, tmp_path: Path) -> None:
    theirs = (golden / "fork_formats" / "labelmap.prototxt").read_text()
    (tmp_path / "map.txt").write_text(
        "red_box:1:red box\ngreen_box:2:green box\nblue_box:3:blue box\n"
    )
    arguments = "--delimiter=:", "--include_background=true"
    out = tmp_path / "labelmap.prototxt"
    invoke(create_label_map.command, *arguments, str(tmp_path / "map.txt"), str(out))
    assert out.read_text() == theirs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1\nb", r"map.txt:2: expected 2 fields, as in the lines before, .* got 1: 'b'"),
        ("a 1 b c", r"map.txt:1: expected 1 to 3 fields"),
        ("a b", r"map.txt:1: expected a whole number as label, got 'b'"),
        ("a 99999999999", r"expected a whole number as label, got '99999999999'"),
        ("\xff", r"map.txt: the classes cannot be read: it is no UTF-8"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "map.txt").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        create_label_map.label_map(tmp_path / "map.txt")


def test_names_and_labels_of_two_classes_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "map.txt").write_text("a 1\nb 1\nc 2\na 3\n")
    assert len(create_label_map.label_map(tmp_path / "map.txt").item) == 4
    assert [one.split(": ")[1] for one in caplog.messages] == [
        "the name 'b' or its label 1 is of two classes",
        "the name 'a' or its label 3 is of two classes",
    ]
