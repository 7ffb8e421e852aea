"""The wheel: complete, and usable away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, so that nothing is left in it."""
    source = tmp_path_factory.mktemp("source") / "caffepy"
    unwanted = shutil.ignore_patterns(".git", ".venv*", "build", "__pycache__", "runs", "tests")
    shutil.copytree(ROOT, source, ignore=unwanted)
    target = tmp_path_factory.mktemp("wheel")
    run = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", target, source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return next(target.glob("*.whl"))


def test_the_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    interface = {
        str(path.relative_to(ROOT))
        for package in ("caffe", "caffepy")
        for path in (ROOT / package).rglob("*.py")
    }
    wanted = interface | {
        f"caffepy/{path.relative_to(ROOT)}"
        for part in ("engine", "layers", "models", "proto", "tools")
        for path in (ROOT / part).rglob("*")
        if path.suffix in (".py", ".pyi", ".proto", ".prototxt", ".cu", ".cuh")
    }
    assert wanted
    assert not wanted - held


def test_the_commands_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "caffepy", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "compute_image_mean" in run.stdout


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, caffepy, caffepy.tools.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'h5py', 'cv2', 'lmdb', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
