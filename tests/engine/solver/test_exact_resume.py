"""Exact resume: whatever a net and a solver do between passes, a resumed run goes on with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.core.value import Value
from caffepy.engine.data import images
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.snapshot import read_snapshot
from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import AnnotatedDatum, Datum
from tests.integration.refusals import make_lmdb

# Sets of 11, 11, 9 and 8 samples in batches of 4: snapshots fall in the middle of epochs.
NET = """
name: "everything"
layer { name: "images" type: "Data" top: "image" top: "label"
  transform_param { crop_size: 6 mirror: true max_rotation_angle: 9 erase_ratio: 0.3
    distort_param { brightness_prob: 0.5 brightness_delta: 20 } }
  data_param { source: "lmdb" batch_size: 4 backend: LMDB rand_skip: 5 prefetch: 2 } }
layer { name: "rows" type: "HDF5Data" top: "row"
  hdf5_data_param { source: "h5.txt" batch_size: 4 shuffle: true } }
layer { name: "files" type: "ImageData" top: "file" top: "number"
  image_data_param { source: "images.txt" batch_size: 4 shuffle: true is_color: false } }
layer { name: "windows" type: "WindowData" top: "window" top: "class"
  transform_param { crop_size: 4 mirror: true }
  window_data_param { source: "windows.txt" batch_size: 4 fg_fraction: 0.5 context_pad: 1 } }
layer { name: "boxes" type: "AnnotatedData" top: "boxed" top: "box"
  transform_param { mirror: true resize_param { height: 4 width: 4 interp_mode: AREA
      interp_mode: CUBIC } expand_param { prob: 0.5 max_expand_ratio: 2 }
    distort_param { hue_prob: 0.5 hue_delta: 20 }
    noise_param { saltpepper: true saltpepper_param { fraction: 0.2 value: 0 } } }
  data_param { source: "boxes" batch_size: 4 backend: LMDB rand_skip: 5 }
  annotated_data_param { batch_sampler { sampler { min_scale: 0.5 } max_sample: 1
    sample_constraint { min_jaccard_overlap: 0.2 } } } }
layer { name: "noise" type: "DummyData" top: "noise" include { phase: TRAIN }
  dummy_data_param { shape { dim: 4 dim: 5 } data_filler { type: "gaussian" std: 0.1 } } }
layer { name: "silence" type: "Silence" bottom: "number" bottom: "class"
  bottom: "box" }
layer { name: "scaled" type: "Power" bottom: "image" top: "scaled" power_param { scale: 0.01 } }
layer { name: "conv" type: "Convolution" bottom: "scaled" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 } }
layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }
layer { name: "file_ip" type: "InnerProduct" bottom: "file" top: "file_ip"
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "window_ip" type: "InnerProduct" bottom: "window" top: "window_ip"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "box_ip" type: "InnerProduct" bottom: "boxed" top: "box_ip"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "concat" type: "Concat" bottom: "flat" bottom: "row" bottom: "file_ip"
  bottom: "window_ip" bottom: "box_ip" top: "all" }
layer { name: "drop" type: "Dropout" bottom: "all" top: "all" dropout_param { dropout_ratio: 0.4 } }
layer { name: "ip" type: "InnerProduct" bottom: "all" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "carried" type: "Carried" bottom: "ip" top: "carried" }
layer { name: "add" type: "Eltwise" bottom: "carried" bottom: "noise" top: "noisy"
  include { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "noisy" bottom: "label" top: "loss"
  include { phase: TRAIN } }
layer { name: "test_loss" type: "SoftmaxWithLoss" bottom: "carried" bottom: "label" top: "loss"
  include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 weight_decay: 0.005 clip_gradients: 0.5
lr_policy: "step" gamma: 0.7 stepsize: 3 iter_size: 3 average_loss: 4 display: 1
test_iter: 2 test_iter: 1 test_interval: 2 snapshot_prefix: "s"
"""


class CarriedLayer(Layer):
    """y = x + half of the y before: an out-of-tree layer that carries a value from pass to pass."""

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        top[0].reshape(bottom[0].shape)
        self.carried = Value(bottom[0].shape, self.ops.dtype)
        self.add, self.copy = self.ops.eltwise_sum((1.0, 0.5)), self.ops.eltwise_sum((1.0,))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.add.forward([bottom[0].data, self.carried], out=top[0].data)
        self.copy.forward([top[0].data], out=self.carried)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.copy.backward(top[0].diff, outs=[bottom[0].diff])

    def state(self) -> dict[str, Any]:
        return {"carried": self.carried.read()}

    def restore(self, state: dict[str, Any]) -> None:
        self.carried.write()[...] = state["carried"]


class Ends(Callback):
    """Writes down every number that a run shows."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, Any]] = []

    def on_displayed(self, solver: Training, loss: float, rate: float | None) -> None:
        self.shown.append((solver.iteration, (loss, rate)))

    def on_tested(self, solver: Training, result: TestResult) -> None:
        self.shown.append((result.iteration, [output.value for output in result.outputs]))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the net and its data."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    records, annotated = dict[bytes, bytes](), dict[bytes, bytes]()
    for number in range(11):
        pixels = random.integers(0, 256, (3, 8, 8)).astype(np.uint8)
        datum = Datum(channels=3, height=8, width=8, data=pixels.tobytes(), label=number % 5)
        records[f"{number:03}".encode()] = datum.SerializeToString()
        boxed = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=datum)
        for place in range(number % 3):
            box = boxed.annotation_group.add(group_label=place).annotation.add().bbox
            box.xmax, box.ymax = 0.5, 0.25 * place + 0.25
        annotated[f"{number:03}".encode()] = boxed.SerializeToString()
    make_lmdb(Path("lmdb"), records)
    make_lmdb(Path("boxes"), annotated)
    for name, count in (("a", 5), ("b", 4)):
        with h5py.File(f"{name}.h5", "w") as file:
            file["row"] = random.standard_normal((count, 6)).astype(np.float32)
    Path("h5.txt").write_text("a.h5\nb.h5\n")
    for number in range(8):
        pixels = random.integers(0, 256, (1, 4, 4)).astype(np.uint8)
        Path(f"{number}.png").write_bytes(images.encode(pixels, "png"))
    Path("images.txt").write_text("".join(f"{number}.png {number}\n" for number in range(8)))
    boxes = "".join(f"{n % 3} {n % 3 / 2} {n % 2} 0 {2 + n % 2} 3\n" for n in range(9))
    Path("windows.txt").write_text(f"# 0\n0.png\n3\n4\n4\n9\n{boxes}")
    Path("net.prototxt").write_text(NET)
    return tmp_path


def train(
    more: str = "random_seed: 3",
    *,
    ops: Ops | None = None,
    max_iter: int = 8,
    snapshot: int = 1,
    callbacks: Sequence[Callback] = (),
    resume: str | None = None,
) -> list[tuple[int, Any]]:
    """Trains in the working directory; what was shown."""
    more += f" max_iter: {max_iter} snapshot: {snapshot}"
    Path("solver.prototxt").write_text(SOLVER + more)
    shown = Ends()
    solver = Solver(
        Settings.read("solver.prototxt"),
        ops=ops or NumpyOps(),
        registry={**LAYERS, "Carried": CarriedLayer},
        callbacks=[shown, *callbacks],
        resume=resume,
    )
    try:
        solver.solve()
    finally:
        solver.close()
    return shown.shown


def content(ending: str, iteration: int = 8) -> dict[str, Any]:
    """All numbers of a snapshot."""
    state = read_snapshot(Path(f"s_iter_{iteration}.solverstate{ending}"))
    found: dict[str, Any] = {str(place): array for place, array in enumerate(state.history)}
    weights = f"s_iter_{iteration}.caffemodel{ending}"
    if ending:
        with h5py.File(weights) as file:
            for layer, blobs in file["data"].items():
                found |= {f"{layer}/{index}": blob[()] for index, blob in blobs.items()}
        state.extra.pop("weights_sha256")  # HDF5 files hold the time of their making
    else:
        found["weights"] = Path(weights).read_bytes()
    return {**found, "extra": state.extra}


@pytest.mark.parametrize("more", ["", "snapshot_format: HDF5 random_seed: 3"])
def test_a_run_resumed_at_any_iteration_is_the_unbroken_one(more: str, ops: Ops) -> None:
    ending = ".h5" if "HDF5" in more else ""
    expected = train(more, ops=ops)
    last = content(ending)
    for iteration in range(1, 8) if ops.name == "numpy" else (3, 6):
        shown = train(more, ops=ops, resume=f"s_iter_{iteration}.solverstate{ending}")
        assert shown == [one for one in expected if one[0] >= iteration], iteration
        np.testing.assert_equal(content(ending), last, f"resumed at {iteration}")


class At(Callback):
    """Does something amid the tests of an iteration."""

    def __init__(self, iteration: int, act: Callable[[Training], None]) -> None:
        self.iteration, self.act = iteration, act
        self.seen = 0

    def on_forward(self, solver: Training, net: Net) -> None:
        if net is solver.test_nets[0] and solver.iteration == self.iteration:
            self.seen += 1
            if self.seen == 1:
                self.act(solver)


def stop(solver: Training) -> None:
    solver.request_stop()


def request(solver: Training) -> None:
    solver.request_snapshot()


def take(solver: Training) -> None:
    solver.snapshot()


@pytest.mark.parametrize("act", [stop, request, take])
def test_a_snapshot_amid_tests_leads_to_all_of_them(act: Callable[[Training], None]) -> None:
    expected = train()
    last = content("")
    for path in Path().glob("s_iter_*"):
        path.unlink()
    train(snapshot=0, callbacks=[At(4, act)])
    shown = train(resume="s_iter_4.solverstate")
    assert shown == [one for one in expected if one[0] >= 4]
    np.testing.assert_equal(content(""), last)


def test_a_snapshot_asked_for_in_the_last_test_does_not_replace_that_of_the_last_iteration() -> (
    None
):
    expected = train(max_iter=10)
    last = content("", 10)
    train(max_iter=6, callbacks=[At(6, request)])  # the last shown loss has changed statistics
    shown = train(max_iter=10, resume="s_iter_6.solverstate")
    assert shown == [one for one in expected if one[0] >= 6]
    np.testing.assert_equal(content("", 10), last)


class AmidIteration(Callback):
    """Takes a snapshot in one pass, or after the last one, of an iteration."""

    def __init__(self, in_pass: bool) -> None:
        self.in_pass = in_pass

    def on_forward(self, solver: Training, net: Net) -> None:
        if self.in_pass and net is solver.net and solver.iteration == 4:
            solver.snapshot()

    def on_gradients_ready(self, solver: Training) -> None:
        if not self.in_pass and solver.iteration == 4:
            solver.snapshot()


@pytest.mark.parametrize("in_pass", [True, False])
def test_a_snapshot_taken_amid_an_iteration_waits_for_its_end(in_pass: bool) -> None:
    expected = train()
    last = content("")
    for path in Path().glob("s_iter_*"):
        path.unlink()
    train(snapshot=0, callbacks=[AmidIteration(in_pass)])
    assert not Path("s_iter_4.solverstate").exists()
    shown = train(resume="s_iter_5.solverstate")
    assert shown == [one for one in expected if one[0] >= 5]
    np.testing.assert_equal(content(""), last)


class Interrupts(Callback):
    """What Ctrl-C in a notebook does amid the first pass of an iteration."""

    def on_forward(self, solver: Training, net: Net) -> None:
        if net is solver.net and solver.iteration == 4:
            raise KeyboardInterrupt


def test_a_snapshot_after_an_exception_amid_an_iteration_can_be_resumed() -> None:
    Path("solver.prototxt").write_text(SOLVER + "random_seed: 3 max_iter: 8")
    registry = {**LAYERS, "Carried": CarriedLayer}
    settings = Settings.read("solver.prototxt")
    solver = Solver(settings, ops=NumpyOps(), registry=registry, callbacks=[Interrupts()])
    with contextlib.closing(solver):
        with pytest.raises(KeyboardInterrupt):
            solver.solve()
        solver.snapshot()
    assert train(resume="s_iter_4.solverstate")[0][0] == 4


def test_a_snapshot_in_the_last_test_leads_to_what_a_longer_run_does() -> None:
    # the forward pass that shows the last loss would change the statistics, as in Caffe
    norm = 'layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }'
    Path("net.prototxt").write_text(NET.replace(norm, ""))
    expected = train(max_iter=10)
    last = content("", 10)
    train(max_iter=6, callbacks=[At(6, take)])
    shown = train(max_iter=10, resume="s_iter_6.solverstate")
    assert shown == [one for one in expected if one[0] >= 6]
    np.testing.assert_equal(content("", 10), last)


class CountsTests(Callback):
    """Counts tests, and takes a snapshot when it has counted three."""

    def __init__(self) -> None:
        self.count = 0

    def on_tested(self, solver: Training, result: TestResult) -> None:
        self.count += 1
        if self.count == 3:
            solver.snapshot()

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_a_callback_does_not_count_a_repeated_test_twice() -> None:
    first, second = CountsTests(), CountsTests()
    train(snapshot=0, callbacks=[first])
    train(snapshot=0, callbacks=[second], resume="s_iter_2.solverstate")
    assert second.count == first.count
