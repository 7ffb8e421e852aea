"""The structure that DESIGN promises: imports run one way, layers hold no device code."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS

ROOT = Path(__file__).resolve().parent.parent
DEVICE_MODULES = {"numpy", "cupy", "lmdb", "h5py", "cv2", "plyvel"}
LAYER_MODULES = sorted(
    path for path in (ROOT / "layers").glob("*.py") if path.name != "__init__.py"
)


def test_imports_run_one_way(laid_out: Path) -> None:
    config = configparser.ConfigParser()
    config["importlinter"] = {"root_packages": "\ncaffepy\ncaffe"}
    config["importlinter:contract:engine"] = {
        "name": "tools, pycaffe -> solver -> net -> passes -> ops -> core -> proto",
        "type": "layers",
        "layers": "\n" + "\n".join(
            (
                "caffe",
                "caffepy.pycaffe | caffepy.models | caffepy.tools",
                "caffepy.engine.solver",
                "caffepy.engine.snapshot",
                "caffepy.engine.net",
                "caffepy.engine.passes",
                "caffepy.engine.ops",
                "caffepy.engine.core",
                "caffepy.proto",
            )
        ),
    }  # fmt: skip
    config["importlinter:contract:layers"] = {
        "name": "layers know ops, core and data only, and only tools and caffe know layers",
        "type": "forbidden",
        "source_modules": "\ncaffepy.layers",
        "forbidden_modules": "\n" + "\n".join(
            (
                "caffepy.tools", "caffepy.models", "caffepy.engine.solver", "caffepy.engine.net",
                "caffepy.engine.passes", "caffepy.engine.ops.numpy", "caffepy.engine.ops.onednn",
                "caffepy.engine.ops.cuda",
            )
        ),
    }  # fmt: skip
    config["importlinter:contract:engine_without_layers"] = {
        "name": "the engine does not know the layers",
        "type": "forbidden",
        "source_modules": "\ncaffepy.engine\ncaffepy.proto",
        "forbidden_modules": "\n" + "\n".join(
            ("caffepy.layers", "caffepy.tools", "caffepy.models", "caffepy.pycaffe", "caffe")
        ),
    }  # fmt: skip
    config["importlinter:contract:layers_apart"] = {
        "name": "layers do not import each other",
        "type": "independence",
        "modules": "\n" + "\n".join(f"caffepy.layers.{path.stem}" for path in LAYER_MODULES),
    }
    with (laid_out / "contracts.ini").open("w") as file:
        config.write(file)
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", "contracts.ini", "--no-cache"],
        cwd=laid_out,
        env={**os.environ, "PYTHONPATH": str(laid_out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", LAYER_MODULES, ids=lambda path: path.stem)
def test_a_layer_of_op_calls_imports_no_array_library(path: Path) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    python_side = any(
        not cls.records
        for cls in LAYERS.values()
        if cls.__module__ == f"caffepy.layers.{path.stem}"
    )
    assert python_side or not imported & DEVICE_MODULES


@pytest.mark.parametrize("path", LAYER_MODULES, ids=lambda path: path.stem)
def test_every_layer_has_a_test_file(path: Path) -> None:
    registers = any(cls.__module__ == f"caffepy.layers.{path.stem}" for cls in LAYERS.values())
    tests = ROOT / "tests" / "layers" / f"test_{path.stem}.py"
    assert not registers or "ops: Ops" in tests.read_text(encoding="utf-8")


def test_only_the_folders_of_libraries_call_them() -> None:
    users = {
        path.relative_to(ROOT).parts[:3]
        for path in (ROOT / "engine").rglob("*.py")
        if "ctypes" in path.read_text(encoding="utf-8")
    }
    asks_windows = ("engine", "machine.py")
    assert users <= {("engine", "ops", "cuda"), ("engine", "ops", "onednn"), asks_windows}
