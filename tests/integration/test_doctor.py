"""caffepy doctor, on a machine that is well and on some that are not."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caffepy.engine import machine
from caffepy.engine.ops.onednn import library, self_test
from caffepy.tools import health
from caffepy.tools.finding import BROKEN, NOTE, OK
from caffepy.tools.health import OPENCV, Package, look_at
from tests.integration.refusals import Run

ROOT = Path(__file__).resolve().parents[2]


def remedy(printed: str, name: str) -> str:
    """The line under the finding of that name."""
    found = printed.splitlines()
    return next(
        after for line, after in itertools.pairwise(found) if line.split()[:1] == [name]
    ).strip()


def test_a_machine_that_is_well_can_train(run: Run) -> None:
    status, printed = run("doctor")
    assert status == 0, printed
    assert printed.endswith("Training works.")
    assert "\nengines\n  numpy" in printed
    assert "broken:" not in printed


def test_programs_get_json(run: Run) -> None:
    status, printed = run("doctor", "--json")
    found = json.loads(printed)
    assert (status, found["works"]) == (0, True)
    assert {one["name"]: one["state"] for one in found["data"]}["LMDB"] == OK


def test_without_onednn_it_says_why_and_training_works(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_loaded", None)
    monkeypatch.setattr(self_test, "_result", None)
    monkeypatch.setenv("CAFFEPY_DNNL", "none.so")
    status, printed = run("doctor")
    assert status == 0
    assert "none.so: expected a loadable library" in remedy(printed, "onednn")
    assert "auto takes            numpy" in printed


def test_a_package_that_is_missing_is_named_with_what_installs_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = Package("no_such_module", ("no-such",)), Package("nor_this", ("nor",), "x fails")
    monkeypatch.setattr(health, "PACKAGES", packages)
    status, printed = run("doctor")
    assert status == 1
    assert remedy(printed, "no_such_module").endswith("-m pip install no-such")
    assert remedy(printed, "nor_this").startswith("note: Without it x fails. Run: ")
    assert printed.endswith("Something is broken that training needs: see above.")


def test_two_wheels_of_opencv_over_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in OPENCV[:2]:
            return "5.0"
        raise importlib.metadata.PackageNotFoundError(name)

    def not_loading(name: str) -> Any:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = look_at(Package("cv2", OPENCV))
    assert (found.state, found.value) == (NOTE, "opencv-python-headless 5.0 and opencv-python 5.0")
    assert "pip uninstall -y opencv-python-headless opencv-python; " in found.remedy
    assert found.remedy.endswith("pip install opencv-python-headless")
    monkeypatch.setattr(importlib, "import_module", not_loading)
    found = look_at(Package("cv2", OPENCV))
    assert (found.state, found.value[:24]) == (BROKEN, "does not load: libGL.so.")
    assert "pip uninstall -y opencv-python-headless opencv-python; " in found.remedy


def test_an_engine_that_does_not_train_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_train", lambda engine: float("nan"))
    status, printed = run("doctor")
    assert status == 1
    assert "training gives nan" in printed


def test_less_cpu_time_than_cpus_is_pointed_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "allowed_cpus", lambda: 8)
    monkeypatch.setattr(machine, "cpu_limit", lambda: 2.5)
    status, printed = run("doctor")
    assert status == 0
    assert remedy(printed, "CPUs").endswith("Give --threads 2.")


def test_a_database_that_reads_other_than_was_written_is_broken() -> None:
    with pytest.raises(ValueError, match="expected 1, got 2"):
        health._expect(2, 1)


@pytest.mark.parametrize("package", ["numpy", "google.protobuf", "cv2"])
def test_it_runs_without_what_the_rest_needs(package: str) -> None:
    script = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from caffepy.tools.cli import main; main(['doctor'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "broken: Run: " in done.stdout
