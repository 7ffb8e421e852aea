"""The benchmarks start and print their tables; their nets and counts are looked at, the times they
measure are not."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks import ceilings, train_step
from benchmarks.account import account, watching, work_of
from benchmarks.caffe_binary import CaffeError, time_caffe
from benchmarks.ceilings import Ceilings
from benchmarks.contenders import TORCH, OurStep, make_step
from benchmarks.layer_cases import COMPUTE_NOTHING, cases
from benchmarks.memory import STATUS, peak_bytes
from benchmarks.nets import NETS, batch_for
from caffepy.engine import filler
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetState
from tests.conftest import onednn_ops

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("lenet", "cifar10_quick", "siamese")
RECORDED = {  # of the nets that Caffe's own definitions are recorded of
    "lenet": "lenet_train_test",
    "cifar10_quick": "cifar10_quick_train_test",
    "caffenet": "caffenet_train_val",
    "googlenet": "googlenet_deploy",
    "squeezenet": "squeezenet11_train_val",
    "mobilenet": "mobilenet_deploy",
    "siamese": "mnist_siamese_train_test",
}


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (
            "train_step --nets lenet --engines numpy --rounds 1 --seconds 0.01 --threads 1 --test "
            "--account --no-memory",
            ("Training step", "LeNet (64)", "Forward in phase TEST", "floor, layer by layer"),
        ),
        (
            "updates --rules sgd,lars --counts 1000 --rounds 1 --seconds 0.0001 --threads 1",
            ("1000 sgd       numpy", "1000 lars      numpy"),
        ),
        (
            "train_overhead --nets lenet --engine numpy --rounds 1 --seconds 0.01 --threads 1",
            ("LeNet (64), 1 threads: bare step ", "caffepy train"),
        ),
        (
            "input_pipeline --size 24 --records 9 --batch 4 --transform crop_size:20 --rounds 1 "
            "--seconds 0.001",
            ("floats ", "bytes ", "kept "),
        ),
        (
            "data --threads 2 --batch 4 --batches 2 --rounds 1 --files 5 --gigabytes 0.002",
            (
                "jpeg ",
                "decoding alone",
                "raw ",
                "cursor alone",
                "convert files ",
                "mean of pixels ",
                "memory ",
                "MB more at most",
            ),
        ),
        ("gpu_traffic cifar10_quick --kernels", ("one by one", "cifar10_quick ", "max_forward")),
        ("gpu_host_time --nets lenet --rounds 1", ("graphs", "LeNet ", " 1.0 ")),
        ("start_up --runs 1 --engine numpy", ("caffepy --help: ", "to iteration 0: ")),
        (
            "side_by_side --net lenet --iterations 16 --rounds 1 --threads 1 --ways alone",
            ("LeNet, 1 thread(s)", "none"),
        ),
        ("golden_deviations --engines numpy --sets means", ("means",)),
        (
            "layers --engine numpy --batch 2 --rounds 1 --seconds 0.0001 --threads 1",
            ("Convolution 5x5 group 2 ",),
        ),
    ],
)
def test_a_benchmark_runs(command: str, wanted: tuple[str, ...], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *f"benchmarks.{command}".split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for one in wanted:
        assert one in run.stdout


def test_every_layer_type_that_computes_is_timed() -> None:
    timed = {case.type for case in cases(1)}
    own = {
        name: cls for name, cls in LAYERS.items() if cls.__module__.startswith("caffepy.layers.")
    }
    missing = own.keys() - timed - {*COMPUTE_NOTHING}
    assert [name for name in missing if own[name].records] == []
    assert timed <= own.keys()


# ---- the nets


def build(name: str) -> Net:
    """A benchmark's net with one sample, its weights not filled in."""
    with mock.patch.object(filler, "fill"):
        state = NetState(phase=TRAIN)
        return Net(NETS[name].param(1), state, ops=NumpyOps(), registry=LAYERS)


@pytest.mark.parametrize("name", RECORDED)
def test_layers_and_shapes_are_those_of_the_published_net(name: str, golden: Path) -> None:
    net = build(name)
    (recorded, *_) = json.loads((golden / "nets" / RECORDED[name] / "shapes.json").read_text())[
        "states"
    ]
    ours = {layer.name: [list(blob.shape) for blob in layer.blobs] for layer in net.layers}
    for layer in recorded["layers"]:
        if layer["param_shapes"]:
            assert ours[layer["name"]] == layer["param_shapes"]
    absent = "split", "accuracy", "prob", "loss"
    for blob, shape in recorded["blobs"].items():
        if not any(part in blob for part in absent):
            assert list(net.blobs[blob].shape[1:]) == shape[1:], blob


def test_resnet50_has_the_published_number_of_weights() -> None:
    net = build("resnet50")
    found = sum(
        math.prod(blob.shape)
        for layer in net.layers
        if layer.type != "BatchNorm"
        for blob in layer.blobs
    )
    assert found == 25_557_032 + 64  # with the bias of the first convolution


def test_googlenet_trains_on_three_losses() -> None:
    weights = build("googlenet").loss_weights
    assert sorted(weights.values()) == [pytest.approx(0.3), pytest.approx(0.3), 1]


def test_a_batch_is_drawn_once_and_has_all_its_labels_in_range() -> None:
    data, labels = batch_for(NETS["cifar10_quick"].param())
    assert data.shape == (100, 3, 32, 32)
    assert set(labels) == set(range(10))
    again, _ = batch_for(NETS["cifar10_quick"].param())
    assert (data == again).all()


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[] if one in SMALL else pytest.mark.slow) for one in NETS],
)
@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_pytorch_computes_the_same_losses(name: str, phase: int) -> None:
    pytest.importorskip("torch")
    param = NETS[name].param(4)
    for layer in param.layer:
        layer.dropout_param.dropout_ratio = 0  # masks differ
    ours = OurStep(param, NumpyOps(), phase)
    theirs = [make_step(engine, param, phase, 1) for engine in TORCH]
    # Batch normalisation of few samples lets rounding errors grow from update to update; and
    # Caffe's gradient of ContrastiveLoss has a small number added.
    tolerances: tuple[float, ...] = (1e-5, 1e-4, 1e-4)
    if name in ("resnet50", "mobilenet"):
        tolerances = (1e-4, 1e-3)
    for tolerance in tolerances:
        ours()
        for one in theirs:
            one()
            assert float(one.loss.detach()) == pytest.approx(ours.loss, rel=tolerance)  # type: ignore[attr-defined]


def test_a_pass_changes_no_parameter_in_phase_test() -> None:
    step = OurStep(NETS["lenet"].param(2), NumpyOps(), TEST)
    step()
    before = step.loss
    step()
    assert step.loss == before


# ---- the account


@pytest.fixture(params=["numpy", "onednn"])
def engine(request: pytest.FixtureRequest) -> Ops:
    return onednn_ops() if request.param == "onednn" else NumpyOps()


def test_work_is_three_forward_passes_without_the_gradient_of_the_data(engine: Ops) -> None:
    step = OurStep(NETS["lenet"].param(2), engine, TRAIN)
    step()
    work = {one.name: one for one in work_of(step)}
    first, others = 20 * 24 * 24 * 25, 50 * 8 * 8 * 20 * 25 + 800 * 500 + 500 * 10
    assert sum(one.flops for one in work.values()) == 2 * 2 * (2 * first + 3 * others)
    weights = 20 * 25 + 20 + 50 * 20 * 25 + 50 + 800 * 500 + 500 + 500 * 10 + 10
    assert work["update"].moved == 5 * 4 * weights
    images, features = 2 * 28 * 28, 2 * 20 * 24 * 24
    assert work["conv1 forward"].moved == 4 * (images + 20 * 25 + 20 + features)
    assert work["relu1 forward"].moved == 0


def test_what_is_watched_adds_up_to_the_step(engine: Ops) -> None:
    step = OurStep(NETS["lenet"].param(2), engine, TRAIN)
    step()
    with watching(getattr(engine, "library", None)) as spent:
        step()
    parts = spent.primitives + spent.reorders + spent.numpy
    assert 0 < parts < spent.total
    assert spent.ops > 15
    assert (spent.primitive_calls > 0) == (engine.name == "onednn")
    assert any(name.endswith("Convolution.backward_params") for name in spent.by_name)


def test_an_account_has_a_line_for_each_part(engine: Ops) -> None:
    step = OurStep(NETS["lenet"].param(1), engine, TEST)
    lines = account(step).lines(Ceilings(100, 10))
    assert [line.split("  ")[1] for line in lines[:-1]] == [
        "products with weights", "arrays read and written", "floor, layer by layer", "the step",
        "- primitives", "- reorders", "- numpy's ops", "- Python around them",
    ]  # fmt: skip


def test_ceilings_are_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("SIDE", 64), ("COPIED", 1 << 16), ("SECONDS", 1e-4)):
        monkeypatch.setattr(ceilings, name, small)
    found = ceilings.ceilings(1)
    assert found.gflops > 0
    assert found.gb > 0
    assert Ceilings(100, 1).best(Ceilings(10, 10)) == Ceilings(100, 10)
    assert Ceilings(100, 10).compute_ms(1e9) == pytest.approx(10)
    assert Ceilings(100, 10).memory_ms(1e9) == pytest.approx(100)


def test_peak_memory_is_that_of_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    if not STATUS.exists():
        pytest.skip("the system does not count a process's peak memory")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = peak_bytes("lenet", "numpy", "TEST", 1)
    assert found is not None
    assert 1e6 < found < 1e9


# ---- a caffe binary


def script(folder: Path, text: str) -> str:
    path = folder / "caffe"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("phase", "expected"), [("TRAIN", 22.75), ("TEST", 8.5)])
def test_a_caffe_binary_is_timed_by_what_it_prints(
    phase: str, expected: float, tmp_path: Path
) -> None:
    caffe = script(
        tmp_path,
        f'cp "$3" {tmp_path}/net.prototxt; echo "$1 $2 $4 $5 $6 $7 $OMP_NUM_THREADS" '
        f"> {tmp_path}/arguments\n"
        'echo "I0101 00:00:00.000000 1 caffe.cpp:1] Average Forward pass: 8.5 ms." >&2\n'
        'echo "I0101 00:00:00.000000 1 caffe.cpp:2] Average Forward-Backward: 22.75 ms." >&2',
    )
    param = NETS["lenet"].param(3)
    assert time_caffe(caffe, param, phase, 7, 2) == expected
    assert (tmp_path / "arguments").read_text() == f"time -model -phase {phase} -iterations 7 2\n"
    assert (tmp_path / "net.prototxt").read_text() == text.write(param)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo unknown layer; exit 3", "got exit status 3 and at the end: unknown layer"),
        ("true", "got exit status 0 and at the end: nothing"),
    ],
)
def test_a_caffe_binary_that_says_no_time_is_refused(
    body: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CaffeError, match=message):
        time_caffe(script(tmp_path, body), NETS["lenet"].param(1), "TRAIN", 1, 1)


def test_a_missing_caffe_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match="expected a program, got"):
        time_caffe(str(tmp_path / "caffe"), NETS["lenet"].param(1), "TRAIN", 1, 1)


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--nets lenet,alexnet", "--nets: expected some of lenet, cifar10_quick, "),
        ("--engines mkl", "--engines: expected some of numpy, onednn, torch, got 'mkl'"),
        ("--rounds 0", "expected at least 1"),
        ("--gpu 0 --engines numpy", "--engines: expected some of caffepy, torch, got 'numpy'"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_step", *arguments.split()])
    with pytest.raises(SystemExit, match="2"):
        train_step.main()
    assert message in capsys.readouterr().err


def test_ratios_are_to_the_faster_pytorch_format(capsys: pytest.CaptureFixture[str]) -> None:
    table = train_step.Table(markdown=True)
    table.start("Title")
    table.add("lenet", "onednn", (10.0, 9.0, 11.0), 20.0, 5_000_000)
    table.add("siamese", "onednn", (8.0, 8.0, 8.0), 4.0, None)
    table.note("siamese", "9 rounds, none disturbed")
    table.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[5:7] == [
        "| LeNet (64) | onednn | 6400.0 | 10.00 | 9.00 | 11.00 | 2.00 | 5 |",
        "| siamese (64) | onednn | 8000.0 | 8.00 | 8.00 | 8.00 | 0.50 | - |",
    ]
    assert lines[-2:] == [
        "- onednn: 1.00 times as fast as the faster PyTorch format (geometric mean of 2), lowest "
        "0.50 (siamese)",
        "- siamese: 9 rounds, none disturbed",
    ]
