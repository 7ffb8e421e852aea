"""Batches on their way to a GPU: copied ahead as bytes, or kept there, and transformed there."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.data import datum, images, kept_records
from caffepy.engine.data.db import create_db
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.capture import WARM_UP
from caffepy.proto.caffe_pb2 import TEST, TRAIN, Datum
from tests.harness import LayerRun, make_layer
from tests.host_memory import DeviceArray
from tests.host_runtime import HostEvent, HostRuntime
from tests.nets import make_net

Make = Callable[..., LayerRun]

NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 4 mirror: true scale: 0.25 }
  data_param { source: "db" batch_size: 3 backend: LMDB } }
layer { name: "half" type: "Power" bottom: "data" top: "half" power_param { scale: 0.5 } }
layer { name: "twice" type: "Power" bottom: "label" top: "twice" power_param { scale: 2 } }
"""

TRANSFORMS = (
    "",
    "scale: 0.00390625",
    "crop_size: 5",
    "crop_size: 5 mirror: true scale: 0.017 mean_value: 104.3",
    "crop_h: 4 crop_w: 7 mirror: true mean_file: 'mean.npy'",
    "mirror: true mean_file: 'mean.npy' scale: 0.3",
    "crop_h: 9 crop_w: 3 mirror: true mean_value: 104 mean_value: 117 mean_value: 123.68",
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes Data layers on the database tmp_path/db, and closes them."""
    made: list[LayerRun] = []

    def layer(ops: Ops, transform: str = "", options: str = "batch_size: 3", **kw: Any) -> LayerRun:
        param = f"""type: "Data" top: "data" top: "label" transform_param {{ {transform} }}
            data_param {{ source: "db" backend: LMDB {options} }}"""
        made.append(make_layer(param, [], ops=ops, folders=(tmp_path,), **kw))
        return made[-1]

    yield layer
    for run in made:
        run.layer.close()


def write(folder: Path, records: list[Datum]) -> None:
    with create_db(folder / "db", "lmdb") as writer:
        for index, record in enumerate(records):
            writer.put(b"%03d" % index, record.SerializeToString())


def pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def raw(count: int, *shape: int) -> list[Datum]:
    """Random images (C, H, W) with their numbers as labels."""
    return [datum.raw(image, index) for index, image in enumerate(pictures(count, *shape))]


def check_equal(run: LayerRun, other: LayerRun, passes: int) -> None:
    """Both layers give the same bits."""
    for number in range(passes):
        for found, wanted in zip(run.forward(), other.forward(), strict=True):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted, f"pass {number}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean", [None, (1, 1, 1), (3, 1, 1), (3, 7, 9)])
@pytest.mark.parametrize("whole", [True, False])
def test_the_kernel_gives_the_bits_of_the_reference(
    whole: bool, mean: tuple[int, ...] | None, dtype: Any, cuda_runtime: CudaRuntime
) -> None:
    random = np.random.default_rng(3)
    size = (7, 9) if whole else (4, 5)
    content = random.integers(0, 256, (6, 3, *size), np.uint8)
    choices = np.column_stack(
        [random.integers(0, most, 5) for most in (6, 7 - 4 + 1, 9 - 5 + 1, 2)]
    )
    subtracted = None if mean is None else 255 * random.random(mean)
    results = []
    for ops in (NumpyOps(dtype), CudaOps(cuda_runtime, dtype)):
        pixels, chosen = Value(content.shape, np.uint8), Value(choices.shape, np.int32)
        pixels.write()[...], chosen.write()[...] = content, choices
        out = Value((5, 3, 4, 5), dtype)
        ops.transform(subtracted, 0.017).forward(pixels, chosen, out=out)
        results.append(out.read().copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("keep_data", [False, True])
@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_layers_give_the_bits_of_the_host(
    transform: str,
    phase: int,
    keep_data: bool,
    make: Make,
    tmp_path: Path,
    cuda_runtime: CudaRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_records, "PART_BYTES", 600)  # two records
    shape = (3 if "123" in transform else 1, 9, 11)
    np.save(tmp_path / "mean.npy", 255 * np.random.default_rng(0).random(shape))
    write(tmp_path, raw(7, *shape))
    ops = CudaOps(cuda_runtime, keep_data=keep_data)
    check_equal(make(ops, transform, phase=phase), make(NumpyOps(), transform, phase=phase), 6)


@pytest.mark.parametrize("keep_data", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_encoded_images_go_the_same_way(
    channels: int, keep_data: bool, make: Make, tmp_path: Path, cuda_runtime: CudaRuntime
) -> None:
    files = [images.encode(image, "png") for image in pictures(5, 6, 7, channels)]
    write(tmp_path, [datum.encoded(file, index) for index, file in enumerate(files)])
    ops = CudaOps(cuda_runtime, keep_data=keep_data)
    transform = "crop_size: 4 mirror: true mean_value: 7"
    run = make(ops, transform)
    check_equal(run, make(NumpyOps(), transform), 4)
    assert run.top[0].shape == (3, channels, 4, 4)


@pytest.mark.parametrize("keep_data", [False, True])
def test_a_resumed_layer_goes_on_with_the_same_bits(
    keep_data: bool, make: Make, tmp_path: Path, cuda_runtime: CudaRuntime
) -> None:
    write(tmp_path, raw(7, 1, 6, 6))
    transform, options = "crop_size: 4 mirror: true", "batch_size: 3 rand_skip: 5"
    ops = CudaOps(cuda_runtime, keep_data=keep_data)
    host, first = make(NumpyOps(), transform, options), make(ops, transform, options)
    check_equal(first, host, 3)
    state = first.layer.state()
    assert state == host.layer.state()
    first.layer.restore(state)  # what was sent ahead is not used
    resumed = make(ops, transform, options)
    resumed.layer.restore(state)
    for _ in range(4):
        expected = host.forward()
        for run in (first, resumed):
            for found, wanted in zip(run.forward(), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


def test_what_is_no_bytes_comes_as_floats_among_others(
    make: Make, tmp_path: Path, cuda_runtime: CudaRuntime
) -> None:
    floats = np.random.default_rng(0).random((1, 6, 6))
    records = raw(7, 1, 6, 6)
    records[4] = datum.raw(floats, 4)
    write(tmp_path, records)
    transform = "crop_size: 4 mirror: true scale: 0.1"
    check_equal(make(CudaOps(cuda_runtime), transform), make(NumpyOps(), transform), 8)


def test_images_of_several_sizes_are_cropped_to_one(
    make: Make, tmp_path: Path, cuda_runtime: CudaRuntime
) -> None:
    sizes = [(6, 6), (4, 9), (8, 5), (5, 5), (7, 6)]
    write(tmp_path, [datum.raw(pictures(1, 2, *size)[0], 0) for size in sizes])
    transform = "crop_size: 4 mirror: true mean_value: 9"
    check_equal(make(CudaOps(cuda_runtime), transform), make(NumpyOps(), transform), 8)


def test_each_pass_writes_to_the_same_place_and_labels_stay_on_the_host(
    make: Make, tmp_path: Path, cuda_runtime: CudaRuntime
) -> None:
    write(tmp_path, raw(7, 1, 6, 6))
    ops = CudaOps(cuda_runtime)
    run = make(ops)
    run.layer.forward([], run.top)
    place = run.top[0].data.read(ops.layout)
    key = ops.layout, ops.layout.key(run.top[0].shape)
    for _ in range(3):
        run.layer.forward([], run.top)
        assert run.top[0].data.holds(key, place)
        assert not run.top[0].data.on_host
        assert run.top[1].data.on_host


class Sent(HostEvent):
    """The end of a copy of a Watched."""

    def __init__(self, runtime: Watched, event: HostEvent) -> None:
        self._runtime = runtime
        self.event = event

    def milliseconds_since(self, earlier: HostEvent) -> float:
        self._runtime.forget(self)
        return 0.0


class Watched(HostRuntime):
    """Notes in which order the two streams get work, and looks whether memory stays as it was
    until the host knows that its copy is done."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[str] = []
        self._turn = threading.Lock()
        self.sent: dict[Sent, tuple[np.ndarray, np.ndarray]] = {}  # memory, and what was in it

    def upload_ahead(self, source: np.ndarray, buffer: DeviceArray) -> Sent:
        self.asked.append("copy")
        sent = Sent(self, super().upload_ahead(source, buffer))
        with self._turn:
            self.sent[sent] = source, source.copy()
        return sent

    def forget(self, last: Sent) -> None:
        """The host knows that copies are done, up to that one."""
        with self._turn:
            while last in self.sent:
                del self.sent[next(iter(self.sent))]

    def wait_for(self, event: HostEvent) -> None:
        assert isinstance(event, Sent)
        with self._turn:
            for memory, content in self.sent.values():
                np.testing.assert_array_equal(memory, content, "changed while it was copied")
        self.asked.append("wait")
        super().wait_for(event.event)

    def launch(self, *arguments: Any) -> None:
        self.asked.append("launch")
        super().launch(*arguments)


@pytest.mark.parametrize(("keep_data", "copies"), [(False, 2), (True, 1)])
def test_the_next_batch_is_copied_while_a_pass_runs(
    keep_data: bool, copies: int, make: Make, tmp_path: Path, host_folder: Path
) -> None:
    write(tmp_path, raw(7, 1, 6, 6))
    runtime = Watched(host_folder)
    run = make(CudaOps(runtime, keep_data=keep_data), options="batch_size: 3 prefetch: 1")
    run.layer.forward([], run.top)
    copy = copies * ["copy"]
    assert runtime.asked == [*copy, "wait", "launch", *copy]
    for _ in range(5):
        runtime.asked.clear()
        run.layer.forward([], run.top)
        assert runtime.asked == ["wait", "launch", *copy]


def test_a_layer_that_ends_waits_for_its_copies(
    make: Make, tmp_path: Path, host_folder: Path
) -> None:
    write(tmp_path, raw(7, 1, 6, 6))
    runtime = Watched(host_folder)
    run = make(CudaOps(runtime))
    run.layer.forward([], run.top)
    assert runtime.sent
    run.layer.close()
    assert not runtime.sent
    run.layer.close()


@pytest.mark.parametrize(
    ("records", "limit", "message"),
    [
        (raw(7, 1, 6, 6), 1000, "expected at most 0.0 MiB, 25% of what is free on the device"),
        ([*raw(3, 1, 6, 6), *raw(3, 1, 6, 5)], None, r"'003' of .* is uint8 \(1, 6, 5\), those"),
        ([datum.raw(np.ones((1, 6, 6)), 0)], None, "they hold floats, not bytes"),
        ([*raw(3, 1, 6, 6), Datum(channels=1, height=2, width=1, data=b"1")], None, "'003' of"),
    ],
)
def test_records_that_cannot_be_kept_are_read_in_the_usual_way(
    records: list[Datum],
    limit: int | None,
    message: str,
    make: Make,
    tmp_path: Path,
    host_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path, records)
    runtime = HostRuntime(host_folder) if limit is None else HostRuntime(host_folder, limit)
    run = make(CudaOps(runtime, keep_data=True), "crop_size: 3 mirror: true")
    host = make(NumpyOps(), "crop_size: 3 mirror: true")
    check_equal(run, host, 1)
    assert "--cache device: its records are read from" in caplog.text
    assert re.search(message, caplog.text)


def test_records_are_kept_once_and_said_to_be(
    make: Make,
    tmp_path: Path,
    cuda_runtime: CudaRuntime,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_records, "LOG_EVERY", 3)
    caplog.set_level("INFO", "caffepy")
    write(tmp_path, raw(7, 1, 6, 6))
    run = make(CudaOps(cuda_runtime, keep_data=True))
    for _ in range(6):
        run.layer.forward([], run.top)
    for line in ("Keeping 7 records on the device, 0.0 MiB", "Kept 3 records.", "Kept 6 records."):
        assert caplog.text.count(line) == 1
    assert "batch by batch" not in caplog.text


@pytest.mark.parametrize("keep_data", [False, True])
def test_a_net_that_runs_as_graphs_gets_new_batches_in_each_pass(
    keep_data: bool, tmp_path: Path, cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, raw(7, 1, 6, 6))
    ops = CudaOps(cuda_runtime, keep_data=keep_data)
    nets = [make_net(NET, each, seed=1) for each in (ops, NumpyOps())]
    for number in range(WARM_UP + 6):
        for net in nets:
            net.forward()
        found, wanted = (
            [net.blobs[name].data.read() for name in ("half", "twice")] for net in nets
        )
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other, f"pass {number}")
    for net in nets:
        net.close()
