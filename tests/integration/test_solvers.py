"""Solver types and learning rate policies through the train command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from caffepy.engine.snapshot import read_snapshot
from tests.integration.refusals import Run, assert_refused

TYPES = {
    "SGD": "momentum=0.9",
    "Nesterov": "momentum=0.9",
    "AdaGrad": "momentum=0",
    "RMSProp": "momentum=0",
    "AdaDelta": "momentum=0.95",
    "Adam": "momentum=0.9",
    "AdamW": "momentum=0.9",
    "LARS": "momentum=0.9",
}


@pytest.fixture(autouse=True)
def case(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    return tmp_path


def train(*values: str, options: tuple[str, ...] = ()) -> list[str]:
    changed = [part for value in values for part in ("--set", value)]
    return ["train", "-solver=solver.prototxt", *changed, *options]


@pytest.mark.parametrize("name", TYPES)
def test_each_type_trains_takes_snapshots_and_goes_on(name: str, run: Run) -> None:
    values = (f"type={name}", TYPES[name], "snapshot=2", "base_lr=0.01")
    status, message = run(*train(*values, "max_iter=2"))
    assert status == 0, message
    status, message = run(
        *train(*values, "max_iter=4", options=("-snapshot=snap_iter_2.solverstate",))
    )
    assert status == 0, message
    assert read_snapshot(Path("snap_iter_4.solverstate")).iteration == 4


def test_a_state_of_another_type_is_refused_by_name(run: Run) -> None:
    assert run(*train("max_iter=2", "type=Adam"))[0] == 0
    resume = ("-snapshot=snap_iter_2.solverstate",)
    assert_refused(
        run,
        "expected the state of a solver of type AdaDelta, got one of Adam",
        *train("type=AdaDelta", options=resume),
    )


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["type=AdaGrad", "momentum=0.9"], "momentum: expected none in a solver of type AdaGrad"),
        (["type=RMSProp", "momentum=0", "rms_decay=1"], "rms_decay: expected 0 or more and below"),
        (["type=Adam", "momentum=1"], "momentum: expected 0 or more and below 1"),
        (["lr_policy=plateau"], "plateau_winsize: lr_policy 'plateau' needs it"),
        (["lr_policy=cosines"], "Did you mean 'cosine'"),
        (["amsgrad=true"], "this field of a fork's solvers is not implemented here"),
    ],
)
def test_what_a_solver_cannot_do_is_refused(values: list[str], wanted: str, run: Run) -> None:
    assert_refused(run, wanted, *train(*values))


def test_warm_up_and_cosine_show_in_the_log(run: Run) -> None:
    values = ("lr_policy=cosine", "warmup_iter=2", "min_lr=0.1", "base_lr=0.5", "max_iter=6")
    status, message = run(*train(*values, "display=1"))
    assert status == 0, message
    shown = [float(rate) for rate in re.findall(r"lr = (\S+)", message)]
    assert shown == pytest.approx([0, 0.25, 0.5, 0.441421, 0.3, 0.158579])
