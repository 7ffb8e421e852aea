"""docs/extending.md: its files and commands, run in the order in which they stand there."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.host_runtime import HostRuntime

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
GLOG_PREFIX = re.compile(r"^[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.py:\d+\] ", re.MULTILINE)
TOLERANCE = 1e-6  # of float32, by another library's sine


@dataclass
class Tutorial:
    """The folder in which the text was followed, and what its commands printed."""

    folder: Path
    printed: dict[str, str] = field(default_factory=dict)

    def follow(self) -> None:
        for kind, content in BLOCKS:
            if kind == "console":
                for command, shown in commands(content):
                    self.run(command, shown)
            else:
                name = re.match(r"# (\S+)\n", content)
                assert name is not None, f"a {kind} block without the name of its file"
                (self.folder / name[1]).write_text(content, encoding="utf-8")

    def run(self, command: str, shown: list[str]) -> None:
        """Runs a command, and looks for the lines that the text shows of it, in their order."""
        site = self.folder / "site"
        words = shlex.split(command)
        if words[0] == "caffepy":
            words = ["python", "-m", "caffepy", *words[1:]]
        elif words[:2] == ["pip", "install"]:  # from the folder alone, and into it
            site.mkdir()
            quick = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
            words = ["python", "-m", "pip", "install", *quick, "--target", str(site), *words[2:]]
        assert words[0] == "python", command
        places = os.pathsep.join((str(ROOT), str(site)))
        ended = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        output = GLOG_PREFIX.sub("", ended.stdout + ended.stderr)
        refused = any(line.startswith("caffepy: ") for line in shown)
        assert ended.returncode == (1 if refused else 0), output
        rest = output
        for line in shown:
            pattern = ".*".join(map(re.escape, line.split("...")))
            found = re.search(f"^{pattern}$", rest, re.MULTILINE)
            assert found, f"`{command}` does not print `{line}`, but:\n{rest}"
            rest = rest[found.end() :]
        self.printed[command] = output


def commands(console: str) -> list[tuple[str, list[str]]]:
    """Each command of a console block with the lines shown below it."""
    told: list[tuple[str, list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            told.append((line[2:], []))
        else:
            told[-1][1].append(line)
    return told


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    followed = Tutorial(tmp_path_factory.mktemp("tutorial"))
    followed.follow()
    return followed


def test_the_text_does_what_it_says(tutorial: Tutorial) -> None:
    assert len(tutorial.printed) >= 9


def test_the_net_of_the_text_learns(tutorial: Tutorial) -> None:
    printed = tutorial.printed["caffepy train --solver solver.prototxt --layers mylayers.py"]
    losses = [float(number) for number in re.findall(r"Iteration \d+.*loss = (\S+)", printed)]
    assert losses[-1] < 1e-3 * losses[0]


@pytest.fixture
def module(
    tutorial: Tutorial, registry_as_before: None, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """The text's last mylayers.py."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("tutorial", tutorial.folder / "mylayers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_kernels_of_the_text_give_the_numbers_of_its_numpy_body(
    dtype: Any, module: ModuleType, host_folder: Path
) -> None:
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 7))
    results = []
    for runtime in (None, HostRuntime(host_folder)):
        ops = NumpyOps(dtype)
        ops.runtime = runtime
        values = [Value(x.shape, dtype) for _ in range(4)]
        values[0].write()[...] = x
        values[1].write()[...] = dy
        op = module.Sine(ops, 2.0, 3.0)
        op.forward(values[0], out=values[2])
        op.backward(values[1], values[0], out=values[3])
        results.append([value.read() for value in values[2:]])
    np.testing.assert_allclose(results[1], results[0], rtol=TOLERANCE, atol=TOLERANCE)
