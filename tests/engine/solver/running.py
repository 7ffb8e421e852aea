"""Running solvers in tests: golden cases in a copy of their folder, small ones from text."""

from __future__ import annotations

import atexit
import functools
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.callbacks import History
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter

CASES = Path(__file__).resolve().parents[2] / "golden" / "solvers"

# Lines that Caffe's tool, factories and upgrades write.
_NOT_OURS = re.compile(r"(caffe|upgrade_proto|hdf5)\.cpp|layer_factory\.hpp|net\.cpp:296")
_OURS_ONLY = ("Solver type: ", "Memory predicted: ", "Net '")  # the last one: of graphs
_PREFIX = re.compile(r"[IWE]\d{8} \S+ +\d+ (\S+)\] ")
SPEED = re.compile(r"\(\S+ iter/s, \S+s/(\d+) iters\)")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]\d+)?(?![\w.]*[A-Za-z_])")


@dataclass
class Run:
    """A solver that ran in `folder`; lines: what it logged."""

    folder: Path
    solver: Solver
    history: History
    lines: list[str]


class Lines(logging.Handler):
    """Collects log lines."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().splitlines() or [""]


def make_solver(
    solver_text: str, *, ops: Ops | None = None, weights: str = "", **options: Any
) -> Solver:
    """A solver from text; its file counts as `solver.prototxt` in the working directory."""
    Path("solver.prototxt").write_text(solver_text)
    settings = Settings.read("solver.prototxt")
    if weights:
        settings.param.weights.append(weights)
    return Solver(settings, ops=ops or NumpyOps(), registry=LAYERS, **options)


def run_solver(settings: Settings, *, ops: Ops | None = None, **options: Any) -> Run:
    """Makes a solver in the working directory and lets it solve."""
    handler, logger = Lines(), logging.getLogger("caffepy")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    history = History()
    try:
        solver = Solver(
            settings, ops=ops or NumpyOps(), registry=LAYERS, callbacks=[history], **options
        )
        solver.solve()
        solver.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return Run(Path.cwd(), solver, history, handler.lines)


@functools.cache
def golden_run(case: str, resume: str = "", ops: Ops | None = None) -> Run:
    """Runs a golden case as Caffe's tool did.

    resume: go on from that state file, without the initial weights.  ops: numpy by default.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"caffepy-{case}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(CASES / case, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = Settings.read("solver.prototxt")
        settings.param.train_state.level = 0
        settings.param.train_state.stage.append("")
        if not resume:
            settings.param.weights.append("init.caffemodel")
        return run_solver(settings, ops=ops, resume=resume or None)


def expectations(case: str) -> dict[str, Any]:
    return json.loads((CASES / case / "losses.json").read_text())


def caffe_lines(path: Path) -> list[str]:
    """The lines of a log of Caffe, without prefix, that we log too."""
    lines: list[str] = []
    wanted = True
    for line in path.read_text().splitlines():
        prefix = _PREFIX.match(line)
        if prefix:
            wanted = "Resuming from" in line or not _NOT_OURS.match(prefix.group(1))
        if wanted:
            lines.append(line[prefix.end() :] if prefix else line)
    return lines


def assert_same_lines(
    found: Sequence[str], expected: Sequence[str], rtol: float, atol: float
) -> None:
    """Equal line by line: words exactly, numbers within tolerance, speeds not at all."""
    found = [line for line in found if not line.startswith(_OURS_ONLY)]
    for pair in zip(found, expected):
        ours, theirs = (SPEED.sub(r"(speed, \1)", line) for line in pair)
        assert _NUMBER.sub("#", ours) == _NUMBER.sub("#", theirs)
        numbers = [[float(number) for number in _NUMBER.findall(line)] for line in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=rtol, atol=atol, err_msg=f"{ours}\n{theirs}")
    assert len(found) == len(expected)


def text_settings(solver_text: str) -> Settings:
    """Settings without a file."""
    return Settings(text.parse(solver_text, SolverParameter))


def filled(solver: Solver) -> Solver:
    """The solver with fixed inputs in all its nets."""
    for net in (solver.net, *solver.test_nets):
        random = np.random.default_rng(0)
        for name in net.inputs:
            value = net.blobs[name].data
            value.write()[...] = random.standard_normal(value.shape)
    return solver


def parameters(solver: Solver) -> list[np.ndarray]:
    return [one.blob.data.read().copy() for one in solver.net.parameters.learnable]


def gradients(solver: Solver) -> list[np.ndarray]:
    """What the next pass adds to the parameters' diffs."""
    solver.net.parameters.clear_diffs()
    solver.net.forward_backward()
    return [one.blob.diff.read().copy() for one in solver.net.parameters.learnable]
