"""Writing files whole, and what is left of those that were not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from caffepy.engine import files
from caffepy.engine.core.errors import DataError, SaveError
from caffepy.engine.files import (
    refusing,
    remove_abandoned,
    written_together,
    written_whole,
)
from caffepy.engine.hdf5_file import hdf5_bytes


def test_files_written_together_appear_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    moved: list[str] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        moved.append(target.name)
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with written_together(second, first) as temporaries:
        for temporary in temporaries:
            temporary.write_text(temporary.name)
        assert not first.exists()
    assert moved == ["second", "first"]
    assert first.read_text().startswith("first.")
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_where_one_of_several_fails_all_stay_as_they_were(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")

    def write() -> None:
        with written_together(first, second) as (temporary, _), refusing(second):
            temporary.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(SaveError, match="second: cannot be written: No space left on device"):
        write()
    assert first.read_text() == "old"
    assert list(tmp_path.iterdir()) == [first]


def test_a_file_that_was_never_written_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="x: cannot be written"),
        written_whole(tmp_path / "x", DataError),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_an_hdf5_file_is_made_in_memory(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["a/b"] = [1.0, 2.0]

    (tmp_path / "x").write_bytes(hdf5_bytes(fill))
    with h5py.File(tmp_path / "x") as file:
        assert list(file["a/b"]) == [1.0, 2.0]


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = [f"a.{dead.pid}.part", f"a.{os.getpid()}.part", f"a.{1 << 70}.part"]
    kept = [f"b.{dead.pid}.part", f"a.{os.getppid()}.part", "a.part", "a", "a.x.part"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path, lambda name: name == "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_abandoned(tmp_path / "missing", lambda name: True)


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "real", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with written_whole(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    (tmp_path / "folder").symlink_to(tmp_path / "disk")
    with (
        pytest.raises(SaveError, match="folder: cannot be written"),
        written_whole(tmp_path / "folder") as temporary,
    ):
        temporary.write_text("new")
    assert list((tmp_path / "disk").iterdir()) == [target]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with (
        pytest.raises(SaveError, match="expected a file, got a device or a pipe"),
        written_whole(pipe) as temporary,
    ):
        temporary.write_text("new")
    assert pipe.is_fifo()
