"""Every bad command that Caffe was recorded with: refused where Caffe refused it, and better.

The table holds what a message must say: the place, what was expected, what was found, what to do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.refusals import Run, files

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "formats" / "errors.json").read_text()
)

# case: the exit status, then parts of the message, in order.
WANTED: dict[str, tuple[int, list[str]]] = {
    "no_arguments": (0, ["Usage: caffepy", "Commands:", "train"]),
    "unknown_command": (2, ["'fly'", "expected one of train, test", "Choose one"]),
    "train_no_solver": (2, ["Missing option '--solver'"]),
    "train_missing_solver": (1, ["nope.prototxt: there is no such file. Fix the path."]),
    "test_no_model": (2, ["Missing option '--model'"]),
    "test_no_weights": (2, ["Missing option '--weights'"]),
    "test_missing_weights": (1, ["none.caffemodel: there is no such file. Fix the path."]),
    "time_missing_model": (1, ["nope.prototxt: there is no such file. Fix the path."]),
    "syntax_error": (
        1,
        ["net.prototxt:2:24: layer 'a': expected ':' after 'type', got '\"ReLU\"'", "Write 'type"],
    ),
    "unknown_field": (1, ["net.prototxt:2:1: 'foo' is not a field of NetParameter.", "Remove it"]),
    "unclosed_brace": (1, ["net.prototxt:1:7: layer 'a': the '{' of 'layer' is", "Close it."]),
    "unknown_layer_type": (
        1,
        ["net.prototxt:2:34: layer 'frobnicate': type 'Frobnicate' does not", "Use one of AbsVal"],
    ),
    "unknown_bottom": (
        1,
        ["net.prototxt:2: layer 'relu' (ReLU): bottom 'dta'", "Did you mean 'data'?"],
    ),
    "duplicate_top": (
        1,
        [
            "net.prototxt:3: layer 'sigmoid' (Sigmoid): top 'y' is already produced by layer",
            "'relu'. Name one of them differently",
        ],
    ),
    "wrong_bottom_count": (
        1,
        [
            "net.prototxt:2: layer 'euclideanloss' (EuclideanLoss): expected 2 bottom",
            "got 1. Give the layer that many `bottom:` lines.",
        ],
    ),
    "wrong_top_count": (
        1,
        [
            "net.prototxt:2: layer 'relu' (ReLU): expected 1 top blob(s), got 2.",
            "Give the layer that many `top:` lines.",
        ],
    ),
    "ip_weight_shape": (
        1,
        [
            "w.caffemodel: layer 'innerproduct', blob 0: expected shape (4, 60)",
            "got (5, 60). Rename the layer in the prototxt",
        ],
    ),
    "softmax_label_count": (
        1,
        [
            "net.prototxt:3: layer 'softmaxwithloss' (SoftmaxWithLoss): bottom 'label': expected",
            "'data' of shape (2, 3), got shape (4,). Give every sample its label.",
        ],
    ),
    "eltwise_shape": (
        1,
        [
            "net.prototxt:3: layer 'eltwise' (Eltwise): bottom 'b': expected the shape (2, 3)",
            "got (2, 4). Make the bottoms equal",
        ],
    ),
    "concat_shape": (
        1,
        [
            "net.prototxt:3: layer 'concat' (Concat): bottom 'b': expected the shape (2, 3, 4)",
            "got (2, 3, 5). Make the other axes equal",
        ],
    ),
    "pool_pad_too_big": (
        1,
        [
            "net.prototxt:2: layer 'pooling' (Pooling): pad: expected less than the kernel (2)",
            "got 2. Reduce it.",
        ],
    ),
    "conv_no_kernel": (
        1,
        [
            "net.prototxt:2: layer 'convolution' (Convolution): kernel_size: expected one number",
            "got 0. Set kernel_size once.",
        ],
    ),
    "conv_group": (
        1,
        [
            "net.prototxt:2: layer 'convolution' (Convolution): channels of 'a': expected a",
            "multiple of group (2), got 3. Change group.",
        ],
    ),
    "unknown_filler": (
        1,
        [
            "net.prototxt:2: layer 'innerproduct' (InnerProduct): filler type 'magic' does not",
            "Known are constant, gaussian",
        ],
    ),
    "loss_weight_count": (
        1,
        [
            "net.prototxt:2: layer 'split' (Split): expected no `loss_weight` or one per top (2)",
            "got 1. Give one for each, or remove them.",
        ],
    ),
    "softmaxloss_two_tops": (
        1,
        [
            "net.prototxt:3: layer 'softmaxwithloss' (SoftmaxWithLoss): expected 1 top blob",
            "got 2",
            'add for the probabilities: layer { name: "p" type: "Softmax" bottom: "a" top: "p" }.',
        ],
    ),
    "softmaxloss_two_tops_two_weights": (
        1,
        [
            "net.prototxt:3: layer 'softmaxwithloss' (SoftmaxWithLoss): expected 1 top blob",
            "Remove it, with its loss_weight, and add",
        ],
    ),
    "solver_unknown_type": (
        1,
        ["solver.prototxt:6:1: type: expected one of", "SGD", "got 'Magic'. Use one of these."],
    ),
    "solver_unknown_policy": (
        1,
        ["solver.prototxt:3:1: lr_policy: expected one of", "fixed", "got 'random'. Use one of"],
    ),
    "solver_no_net": (
        1,
        ["solver.prototxt: net: expected exactly one of net", "got none. Name the train net"],
    ),
    "solver_missing_net": (
        1,
        ["solver.prototxt:1:1: net: there is no file 'gone.prototxt'", "Fix the path."],
    ),
    "solver_test_iter_missing": (
        1,
        ["solver.prototxt: test_iter: expected one for each test net (1), got 0. Give each"],
    ),
    "both_snapshot_weights": (
        2,
        ["--snapshot and --weights: expected one of them, got both.", "already holds weights"],
    ),
    "missing_snapshot": (1, ["a_iter_1.solverstate: there is no such file. Fix the path."]),
    "bad_phase": (2, ["'--phase': 'VALIDATE' is not one of 'train', 'test'"]),
    "hdf5_missing_list": (
        1,
        [
            "net.prototxt:1: layer 'd' (HDF5Data): hdf5_data_param.source: expected an existing",
            "got 'none.txt'",
            "Fix the path",
        ],
    ),
    "lmdb_missing": (
        1,
        [
            "net.prototxt:1: layer 'd' (Data): data_param.source: expected an existing",
            "got 'none_lmdb'",
            "Fix the path",
        ],
    ),
    "leveldb_missing": (
        1,
        [
            "net.prototxt:1: layer 'd' (Data): data_param.source: expected an existing",
            "got 'none_leveldb'",
            "Fix the path",
        ],
    ),
    "gpu_on_cpu_build": (
        1,
        [
            "solver.prototxt:5:1: solver_mode: expected a GPU that can be used",
            "Or set solver_mode: CPU, or choose an engine of the CPU",
        ],
    ),
    "include_and_exclude": (
        1,
        [
            "net.prototxt:2: layer 'relu' (ReLU): expected either include or exclude rules",
            "got both. Say with one of them",
        ],
    ),
    "reshape_count": (
        1,
        [
            "net.prototxt:2: layer 'reshape' (Reshape): reshape_param.shape: expected as many",
            "'a' of shape (2, 3) has, 6, got (4,). Correct the sizes",
        ],
    ),
    "unknown_flag": (2, ["No such option '--frobnicate'"]),
    "ok_time": (0, ["Total Time:"]),
    "empty_net": (1, ["net.prototxt: expected a prototxt, got a file that is empty", "Fix the"]),
}  # fmt: skip


@pytest.fixture
def folder(request: pytest.FixtureRequest, golden: Path, tmp_path: Path) -> Path:
    """The working directory of the test's case."""
    source = golden / "formats" / "errors" / request.getfixturevalue("case")
    if source.is_dir():
        shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    return tmp_path


def check(case: str, status: int, message: str) -> None:
    expected, fragments = WANTED[case]
    assert status == expected, message
    assert (status == 0) == (RECORDED[case]["exit_code"] == 0)
    place = 0
    for fragment in fragments:
        assert fragment in message[place:], f"{fragment!r} is not in {message!r}, in this order"
        place = message.index(fragment, place) + len(fragment)
    assert "Traceback" not in message
    assert "a defect of caffepy itself" not in message
    if status == 1:
        assert message.startswith("caffepy: ")
        assert message.endswith((".", "?"))
        assert "\n" not in message


@pytest.mark.parametrize("case", RECORDED)
def test_every_recorded_error_is_refused_with_place_and_remedy(
    case: str, folder: Path, run: Run
) -> None:
    before = files(folder)
    status, message = run(*RECORDED[case]["args"][1:])
    check(case, status, message)
    assert files(folder) == before


@pytest.mark.parametrize(
    "case", ["no_arguments", "unknown_flag", "unclosed_brace", "missing_snapshot"]
)
def test_as_a_process_of_its_own_too(case: str, folder: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, "-m", "caffepy", *RECORDED[case]["args"][1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = (process.stdout + process.stderr).strip()
    start = max(printed.rfind("\ncaffepy: "), 0)
    check(case, process.returncode, printed[start:].strip())


def test_the_table_has_every_recorded_case() -> None:
    assert WANTED.keys() == RECORDED.keys()
