"""link_tools: what scripts for Caffe call by its path. docs/tools.md runs such a script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caffepy.engine.core.errors import SaveError
from caffepy.tools import cli, link_tools
from caffepy.tools.link_tools import link

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="the files of Windows are others")


def sh(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a folder, from this checkout."""
    return subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_program_of_caffe_is_there_and_runs_a_command(tmp_path: Path) -> None:
    assert {words.split()[0] for words in link_tools.PROGRAMS.values() if words} < set(cli.COMMANDS)
    assert set(link_tools.SCRIPTS.values()) < set(cli.COMMANDS)
    made = link(tmp_path / "build" / "tools")
    assert all(path.is_file() and os.access(path, os.X_OK) for path in made)
    if os.name == "posix":
        assert {"caffe", "caffe.bin", "convert_imageset.bin"} < {path.name for path in made}


@posix
def test_caffe_itself_and_the_log_parser_run(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    link(tmp_path / "tools with a blank")
    script = f"""
        "tools with a blank/caffe" train --solver=solver.prototxt --weights=init.caffemodel 2> log
        '{sys.executable}' "tools with a blank/parse_log.py" log .
        "./tools with a blank/parse_log.py" --verbose log .
        """
    done = sh(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert "Optimization Done" in (tmp_path / "log").read_text()
    assert "Wrote log.train" in done.stdout


def test_linking_again_replaces_what_was_linked(tmp_path: Path) -> None:
    made = link(tmp_path)
    made[0].write_text(f"# {link_tools.MARK}")
    assert link(tmp_path) == made
    assert "-m caffepy" in made[0].read_text()


def test_files_of_others_are_kept(tmp_path: Path) -> None:
    made = link(tmp_path / "once")
    theirs = tmp_path / made[2].name
    theirs.write_bytes(b"\x7fELF")
    with pytest.raises(SaveError, match="got another, perhaps Caffe's own"):
        link(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["once", theirs.name])


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="file: cannot be written"):
        link(tmp_path / "file")
