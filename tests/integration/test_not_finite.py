"""nan and inf in a training, through the real command: where they began, what is kept."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine.ops.onednn.library import available
from tests.integration.refusals import Run

DATA = """layer { name: "d" type: "HDF5Data" top: "x" top: "label"
  hdf5_data_param { source: "list.txt" batch_size: 4 } }
"""
LOSS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 8
random_seed: 1 snapshot: 3 snapshot_prefix: "s"
"""


def product(name: str, bottom: str, outputs: int = 3) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"\n'
        f"  inner_product_param {{ num_output: {outputs} weight_filler {{ type: "
        '"xavier" } } }\n'
    )


def power(body: str, bottom: str, top: str, name: str = "p") -> str:
    return (
        f'layer {{ name: "{name}" type: "Power" bottom: "{bottom}" top: "{top}" '
        f"power_param {{ {body} }} }}\n"
    )


def relu(blob: str) -> str:
    return f'layer {{ name: "relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'


@pytest.fixture(params=["numpy", "onednn"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "onednn" and available() is not None:
        pytest.skip(str(available()))
    return str(request.param)


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    write_data(tmp_path, random.standard_normal((10, 3)))


def write_data(folder: Path, x: np.ndarray) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = x
        file["label"] = np.arange(len(x)) % 3
    (folder / "list.txt").write_text("a.h5\n")


def train(run: Run, net: str, solver: str = SOLVER, *options: str) -> tuple[int, str]:
    Path("net.prototxt").write_text(net)
    Path("solver.prototxt").write_text(solver)
    return run("train", "-solver=solver.prototxt", *options)


def assert_stopped(found: tuple[int, str], *wanted: str) -> None:
    """Status 1 and one paragraph that says all of `wanted`."""
    status, message = found
    assert status == 1, message
    assert message.startswith("caffepy: net.prototxt:")
    assert "\n" not in message
    for part in wanted:
        assert part in message


def snapshots() -> list[str]:
    return sorted(path.name for path in Path().glob("s_iter_*"))


def test_a_diverging_net_is_stopped(run: Run, engine: str) -> None:
    net = DATA + product("ip1", "x", 5) + product("ip", "ip1") + LOSS
    found = train(run, net, SOLVER.replace("0.1", "1e30"), f"-engine={engine}")
    assert_stopped(
        found,
        "net.prototxt:5: layer 'ip' (InnerProduct): top 'ip': expected finite numbers in iteration",
        "inf among 12, the first at (0, 0). This layer got numbers up to ",
        "near the end of float32. Lower base_lr (the learning rate was 1e+30), or set "
        "clip_gradients. This run has taken no snapshot.",
    )
    assert not snapshots()


def test_the_last_good_snapshot_is_named_and_kept(run: Run, engine: str, tmp_path: Path) -> None:
    rows = np.ones((32, 3))
    rows[18, 1] = np.inf
    write_data(tmp_path, rows)
    net = DATA + product("ip", "x") + LOSS
    assert_stopped(
        train(run, net, SOLVER, f"-engine={engine}"),
        "expected finite numbers in iteration 4, got 1 inf among 12",
        "The last snapshot with finite numbers is 's_iter_3.solverstate'.",
    )
    assert snapshots() == ["s_iter_3.caffemodel", "s_iter_3.solverstate"]
    resume = "train", "-solver=solver.prototxt", "-snapshot=s_iter_3.solverstate"
    status, message = run(*resume)
    assert status == 1
    assert "snapshot with finite numbers is 's_iter_3.solverstate'" in message
    write_data(tmp_path, np.ones((32, 3)))
    status, message = run(*resume)
    assert status == 0, message


def test_a_layer_amid_others_on_one_blob_is_found(run: Run, engine: str) -> None:
    net = (
        DATA + product("ip1", "x", 5) + relu("ip1") + power("shift: -9 power: 0.5", "ip1", "ip1")
        + power("scale: 2", "ip1", "ip1", "twice") + product("ip", "ip1") + LOSS
    )  # fmt: skip
    assert_stopped(
        train(run, net, SOLVER, f"-engine={engine}"),
        "layer 'p' (Power): top 'ip1': expected finite numbers in iteration 0, got 20 nan among 20",
        "makes them where a negative number has a fractional power",
        "Keep what it gets away from there",
    )


def test_a_power_of_zero_in_the_loss_is_found(run: Run, engine: str) -> None:
    net = DATA + product("ip1", "x") + relu("ip1") + power("power: -1", "ip1", "ip") + LOSS
    assert_stopped(
        train(run, net, SOLVER, f"-engine={engine}"),
        "net.prototxt:6: layer 'p' (Power): top 'ip': expected finite numbers in iteration 0, got",
        " inf among 12, the first at (0, ",
    )


@pytest.mark.parametrize("in_place", [False, True])
def test_a_bad_row_of_the_data_is_named(
    run: Run, engine: str, in_place: bool, tmp_path: Path
) -> None:
    rows = np.ones((10, 3))
    rows[7, 2] = np.nan
    write_data(tmp_path, rows)
    net = DATA + power("scale: 2", "x", "x") * in_place + product("ip", "x") + LOSS
    assert_stopped(
        train(run, net, SOLVER, f"-engine={engine}"),
        "net.prototxt:1: layer 'd' (HDF5Data): top 'x' (row 7, counted from 0, of dataset 'x' of "
        "'a.h5'): expected finite numbers in iteration 1, got 1 nan among 12, the first at (3, 2).",
        "or 'p' made it so in place: correct the data" if in_place else "2). Correct the data. Thi",
    )


def test_a_bad_gradient_is_found_in_the_next_iteration(run: Run, engine: str) -> None:
    root = power("power: 0.5", "ip1", "root")
    net = DATA + product("ip1", "x") + relu("ip1") + root + product("ip", "root") + LOSS
    assert_stopped(
        train(run, net, SOLVER, f"-engine={engine}"),
        "layer 'ip1' (InnerProduct): parameter 0: expected finite numbers in iteration 1, got ",
        "The update of iteration 0 made it so: in net.prototxt:6: layer 'p' (Power) the gradient "
        "of bottom 'ip1' held",
        "or 'relu' working in place on the blob, makes them where",
    )


def test_a_snapshot_with_bad_parameters_is_not_written(run: Run, engine: str) -> None:
    root = power("power: 0.5", "ip1", "root")
    net = DATA + product("ip1", "x") + relu("ip1") + root + product("ip", "root") + LOSS
    solver = SOLVER.replace("snapshot: 3", "snapshot: 1")
    found = train(run, net, solver, f"-engine={engine}")
    assert_stopped(found, "layer 'ip1' (InnerProduct): parameter 0", "of bottom 'ip1' held")
    assert not snapshots()


@pytest.mark.parametrize("after_train", ["true", "false"])
def test_a_training_that_ends_with_bad_parameters_fails(run: Run, after_train: str) -> None:
    root = power("power: 0.5", "ip1", "root")
    net = DATA + product("ip1", "x") + relu("ip1") + root + product("ip", "root") + LOSS
    solver = SOLVER.replace("max_iter: 8", f"max_iter: 1 snapshot_after_train: {after_train}")
    assert_stopped(train(run, net, solver), "parameter 0: expected finite numbers in iteration 1")
    assert not snapshots()


def test_clipping_finds_a_bad_gradient_before_the_update(run: Run, engine: str) -> None:
    root = power("power: 0.5", "ip1", "root")
    net = DATA + product("ip1", "x") + relu("ip1") + root + product("ip", "root") + LOSS
    assert_stopped(
        train(run, net, SOLVER + "clip_gradients: 1", f"-engine={engine}"),
        "layer 'p' (Power): gradient of bottom 'ip1': expected finite numbers in iteration 0",
    )


def test_each_batch_of_an_iteration_is_looked_at(run: Run, tmp_path: Path) -> None:
    rows = np.ones((12, 3))
    rows[2] = np.inf  # in the first of three batches
    write_data(tmp_path, rows)
    found = train(run, DATA + product("ip", "x") + LOSS, SOLVER + "iter_size: 3")
    assert_stopped(found, "top 'x' (row 2, counted from 0, of", "got 3 inf among 12")


def test_weights_that_are_bad_from_the_start_are_said_to_be_so(run: Run) -> None:
    filler = 'weight_filler { type: "constant" value: inf }'
    net = DATA + product("ip", "x").replace('weight_filler { type: "xavier" }', filler) + LOSS
    assert_stopped(train(run, net), "'ip' (InnerProduct): parameter 0", "before training began")


def test_an_update_that_is_too_large_is_said_to_be_so(run: Run) -> None:
    solver = SOLVER.replace("0.1", "3e38").replace("snapshot: 3", "snapshot: 1")
    net = DATA + power("scale: 1e3", "x", "x") + product("ip", "x") + LOSS
    assert_stopped(
        train(run, net, solver),
        "layer 'ip' (InnerProduct): parameter 0: expected finite numbers in iteration 1",
        "The update of iteration 0 made it so, by too large a step. Lower base_lr (the learning "
        "rate was 3e+38)",
    )


def test_what_has_no_part_in_the_loss_may_be_nan(run: Run, tmp_path: Path) -> None:
    write_data(tmp_path, np.full((10, 3), np.nan))
    silent = DATA + 'layer { name: "s" type: "Silence" bottom: "x" }\n'
    constant = 'layer { name: "c" type: "DummyData" top: "c" dummy_data_param {\n' \
        "  shape { dim: 4 dim: 3 } data_filler { value: 1 } } }\n"  # fmt: skip
    status, message = train(run, silent + constant + product("ip", "c") + LOSS)
    assert status == 0, message


def test_a_score_of_a_test_that_is_nan_only_warns(run: Run, engine: str) -> None:
    root = power("shift: -9 power: 0.5", "ip", "root").replace("}\n", "include { phase: TEST } }\n")
    split = DATA + product("ip", "x") + root + LOSS
    status, message = train(
        run, split, SOLVER + "test_iter: 3 test_interval: 5", f"-engine={engine}"
    )
    assert status == 0, message
    warnings = [line for line in message.splitlines() if line.startswith("W")]
    assert len(warnings) == 2, "one for each test"
    assert "layer 'p' (Power): top 'root': expected finite numbers in the test of" in warnings[0]
    assert "training goes on" in warnings[0]
    assert "s_iter_8.solverstate" in snapshots()


def test_on_nan_ignore_goes_on_as_caffe_does(run: Run, engine: str) -> None:
    conv = """layer { name: "shape" type: "Reshape" bottom: "x" top: "image"
      reshape_param { shape { dim: 4 dim: 1 dim: 3 dim: 1 } } }
    layer { name: "conv" type: "Convolution" bottom: "image" top: "conv" convolution_param {
      num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
    layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {
      kernel_h: 2 kernel_w: 1 } }
    layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" }
    """
    net = DATA + conv + relu("pool") + product("ip", "pool") + LOSS
    solver = SOLVER.replace("0.1", "1e30") + "display: 1 debug_info: true"
    status, message = train(run, net, solver, f"-engine={engine}", "--on-nan=ignore")
    assert status == 0, message
    assert "Warning" not in message
    assert "s_iter_8.solverstate" in snapshots()
