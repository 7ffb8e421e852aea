"""on_mismatch: which blobs of a file are copied into a net, and the table of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.copied import DIFFERS
from caffepy.engine.core.errors import WeightsError
from caffepy.engine.ops.base import Ops
from caffepy.engine.weights import load_weights
from caffepy.engine.weights_file import save_weights
from caffepy.proto.caffe_pb2 import TEST
from tests.engine.solver.running import make_solver
from tests.engine.weight_cases import INPUT, MODELS, PLAIN, SHARED, ip, parameters
from tests.nets import make_net

WIDER = INPUT + ip("a") + ip("b", "a", outputs=5)
OTHERS = INPUT + ip("a").replace("num_o", "bias_term: false num_o") + ip("c", "a")


@pytest.mark.parametrize("hdf5", [False, True])
def test_blobs_of_another_shape_are_left_as_they_are(hdf5: bool, tmp_path: Path, ops: Ops) -> None:
    saved, net = make_net(PLAIN, ops), make_net(WIDER, ops)
    save_weights(saved, tmp_path / "w", hdf5=hdf5)
    before, source = parameters(net), parameters(saved)
    table = load_weights(net, tmp_path / "w", on_mismatch="skip")
    after = parameters(net)
    for index in (0, 1):
        np.testing.assert_array_equal(after["a", index], source["a", index])
        np.testing.assert_array_equal(after["b", index], before["b", index])
    assert str(table).splitlines() == [
        "layer  blob  in file  in net",
        "a      0     (4, 4)   (4, 4)  copied",
        "a      1     (4,)     (4,)    copied",
        "b      0     (3, 4)   (5, 4)  skipped: shape differs",
        "b      1     (3,)     (5,)    skipped: shape differs",
    ]
    assert [(row.layer, row.blob) for row in table.copied] == [("a", 0), ("a", 1)]


@pytest.mark.parametrize("hdf5", [False, True])
def test_what_only_the_file_or_only_the_net_has_is_told(hdf5: bool, tmp_path: Path) -> None:
    save_weights(make_net(PLAIN), tmp_path / "w", hdf5=hdf5)
    table = load_weights(make_net(OTHERS), tmp_path / "w", on_mismatch="skip")
    assert [(row.layer, row.blob, row.in_file, row.in_net, row.outcome) for row in table] == [
        ("a", 0, (4, 4), (4, 4), "copied"),
        ("a", 1, (4,), None, "not in the net"),
        ("c", 0, None, (4, 4), "not in file"),
        ("c", 1, None, (4,), "not in file"),
        ("b", 0, (3, 4), None, "not in the net"),
        ("b", 1, (3,), None, "not in the net"),
    ]
    assert "not in the net" in table._repr_html_()


def test_a_file_lacking_a_blob_of_a_layer_leaves_the_nets(tmp_path: Path) -> None:
    save_weights(make_net(OTHERS), tmp_path / "w")
    table = load_weights(make_net(PLAIN), tmp_path / "w", on_mismatch="skip")
    outcomes = {(row.layer, row.blob): row.outcome for row in table}
    assert outcomes["a", 0] == "copied"
    assert outcomes["a", 1] == "not in file"


@pytest.mark.parametrize(("hdf5", "rows"), [(False, 4), (True, 3)])
def test_a_shared_blob_has_a_row_where_the_file_brings_it(
    hdf5: bool, rows: int, tmp_path: Path
) -> None:
    save_weights(make_net(SHARED), tmp_path / "w", hdf5=hdf5)
    table = load_weights(make_net(SHARED), tmp_path / "w", on_mismatch="skip")
    assert len(table) == len(table.copied) == rows


def test_by_default_the_table_tells_what_the_file_did_not_have(tmp_path: Path) -> None:
    save_weights(make_net(INPUT + ip("a")), tmp_path / "w")
    table = load_weights(make_net(PLAIN), tmp_path / "w")
    assert [row.outcome for row in table] == 2 * ["copied"] + 2 * ["not in file"]


def test_shapes_of_the_old_form_are_copied() -> None:
    table = load_weights(
        make_net(MODELS / "v1.prototxt", phase=TEST), MODELS / "v1.caffemodel", on_mismatch="skip"
    )
    assert len(table.copied) == len(table) > 0
    assert any(row.in_file != row.in_net for row in table)


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    save_weights(make_net(INPUT + ip("a", outputs=7)), tmp_path / "w")
    net = make_net(PLAIN)
    with pytest.raises(WeightsError, match=r"blobs that fit net 'plain', got none: all of them"):
        load_weights(net, tmp_path / "w", on_mismatch="skip")


def test_the_refusal_of_a_shape_tells_of_the_option(tmp_path: Path) -> None:
    save_weights(make_net(PLAIN), tmp_path / "w")
    for net in (WIDER, OTHERS):
        with pytest.raises(WeightsError, match=r"on_mismatch='skip' in Python, --on-mismatch skip"):
            load_weights(make_net(net), tmp_path / "w")


def test_another_word_is_refused(tmp_path: Path) -> None:
    save_weights(make_net(PLAIN), tmp_path / "w")
    with pytest.raises(WeightsError, match="on_mismatch: expected 'error' or 'skip', got 'ignore'"):
        load_weights(make_net(PLAIN), tmp_path / "w", on_mismatch="ignore")


TRAINED = """layer { name: "x" type: "DummyData" top: "x" top: "label"
  dummy_data_param { shape { dim: 2 dim: 4 } shape { dim: 2 } } }""" + (
    ip("a") + ip("b", "a", outputs=5)
) + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "b" bottom: "label" }'  # fmt: skip


def test_a_solver_logs_the_table_of_its_training_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TRAINED)
    save_weights(make_net(PLAIN), Path("w"))
    caplog.set_level("INFO", "caffepy")
    text = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" test_iter: 1 test_interval: 9'
    make_solver(text, weights="w", on_mismatch="skip").close()
    told = [line for line in caplog.messages if line.startswith("What was copied:\n")]
    assert len(told) == 1
    assert told[0].count(DIFFERS) == 2
    with pytest.raises(WeightsError, match="layer 'b', blob 0: expected shape"):
        make_solver(text, weights="w")


def test_a_net_in_python_takes_the_option_and_gives_the_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_weights(make_net(PLAIN), tmp_path / "w")
    (tmp_path / "net.prototxt").write_text(WIDER)
    caplog.set_level("INFO", "caffepy")
    caffe.Net(tmp_path / "net.prototxt", TEST, weights=tmp_path / "w", on_mismatch="skip")
    net = caffe.Net(tmp_path / "net.prototxt", tmp_path / "w", TEST, on_mismatch="skip")
    assert sum(line.startswith("What was copied:") for line in caplog.messages) == 2
    table = net.copy_from(tmp_path / "w", on_mismatch="skip")
    assert [row.outcome for row in table] == 2 * ["copied"] + 2 * [DIFFERS]
    with pytest.raises(WeightsError, match="--on-mismatch skip"):
        net.copy_from(tmp_path / "w")


def test_a_solver_in_python_takes_the_option_for_the_weights_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TRAINED)
    saved = make_net(PLAIN)
    save_weights(saved, Path("w"))
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" weights: "w"'
    )
    solver = caffe.get_solver("solver.prototxt", on_mismatch="skip")
    np.testing.assert_array_equal(solver.net.params["a"][0].data, parameters(saved)["a", 0])
    with pytest.raises(WeightsError, match="on_mismatch='skip'"):
        caffe.SGDSolver("solver.prototxt")
