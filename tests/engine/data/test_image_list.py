"""Lists of images and labels."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.image_list import MAX_LABEL, ImageList


def entries(path: Path) -> list[tuple[str, int, int]]:
    """Name, label and line of every image."""
    listed = ImageList(path)
    return [
        (listed.name(index), int(listed.labels[index]), listed.line(index))
        for index in range(len(listed))
    ]


def test_names_may_hold_blanks_and_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfmy cat.png 3\r\n\n  dog.png\t-4  \nk\xe4fer.png +5.0\na 1 2")
    assert entries(path) == [
        ("my cat.png", 3, 1),
        ("dog.png", -4, 3),
        ("k\udce4fer.png", 5, 4),
        ("a 1", 2, 5),
    ]


NAMES = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])).map(
    lambda name: name.strip(" \t\r\x0b\x0c")
)


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(
        st.tuples(
            NAMES.filter(bool),
            st.integers(-MAX_LABEL, MAX_LABEL),
            st.sampled_from([" ", "\t", "  "]),
            st.sampled_from(["\n", "\r\n", " \n", "\n\n"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("list") / "list.txt"
    text = "".join(f"{name}{gap}{label}{end}" for name, label, gap, end in lines)
    path.write_bytes(text.encode())
    written = [(name, label) for name, label, *_ in lines]
    assert [(name, label) for name, label, _ in entries(path)] == written


@pytest.mark.parametrize(
    "line",
    ["a.png", "a.png 1.5", "a.png one", "7", "a.png 1_0", "a.png 2147483648", "a " + "9" * 9999],
)
def test_a_line_without_a_label_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"a.png 1\n{line}\n")
    with pytest.raises(DataError, match=rf"list\.txt:2: expected a file name.*got '{line[:100]}'"):
        ImageList(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "expected lines of a file name and a label, got none"),
        (b"", "expected lines of a file name and a label, got none"),
        ("a.png 1\n".encode("utf-16"), "expected lines of text, got a file with zero bytes"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"list\.txt: {message}"):
        ImageList(tmp_path / "list.txt")
    with pytest.raises(DataError, match="the list cannot be read: Is a directory"):
        ImageList(tmp_path)


def test_a_long_list_takes_little_more_memory_than_its_file(tmp_path: Path) -> None:
    """As for ImageNet's 1.3 million lines, here with a hundredth of them."""
    lines = [
        f"n{number // 1300:08d}/n{number:08d}.JPEG {number // 1300}" for number in range(13000)
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    tracemalloc.start()
    try:
        listed = ImageList(tmp_path / "list.txt")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < (tmp_path / "list.txt").stat().st_size + 30 * len(listed)
    np.testing.assert_array_equal(listed.labels[-2:], [9, 9])
    assert listed.name(12999) == "n00000009/n00012999.JPEG"
