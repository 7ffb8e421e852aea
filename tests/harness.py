"""Running single layers in tests: golden cases, backends, recorded against direct runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine import single_layer
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.record import recorded
from caffepy.engine.gradient_check import check_layer
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter

RTOL, ATOL = 1e-4, 1e-5  # golden README: single layers against Caffe's float32

check_layer_gradient = check_layer  # as the tests of the tree call it
Compare = Callable[[Any, Any, str], None]  # (found, expected, what)


@dataclass
class LayerRun:
    """A layer that was set up on `bottoms`, with its tops."""

    layer: Layer
    bottom: list[Blob]
    top: list[Blob]
    phase: int = TRAIN
    replays: list[Callable[[], None]] = field(default_factory=list)

    def forward(self) -> list[np.ndarray]:
        """Reshapes and runs forward, recording; then checks that the recorded steps give equal
        bits."""
        self.layer.reshape(self.bottom, self.top)
        before = [blob.data.read().copy() for blob in (*self.bottom, *self.layer.blobs)]
        self._record(lambda: self.layer.forward(self.bottom, self.top))
        outputs = [blob.data.read().copy() for blob in self.top]
        after = [blob.data.read().copy() for blob in self.layer.blobs]
        if self.layer.records and not self.layer.state():
            for blob, content in zip((*self.bottom, *self.layer.blobs), before, strict=True):
                blob.data.write()[...] = content
            self._replay()
            for blob, output in zip(self.top, outputs, strict=True):
                np.testing.assert_array_equal(blob.data.read(), output, "replayed differs")
            for blob, content in zip(self.layer.blobs, after, strict=True):
                np.testing.assert_array_equal(blob.data.read(), content, "replayed differs")
        return outputs

    def backward(self, propagate_down: Sequence[bool] | None = None) -> None:
        """Runs backward into cleared parameter diffs, recording; replays it and compares bits."""
        wanted = [True] * len(self.bottom) if propagate_down is None else list(propagate_down)
        tops = [blob.diff.read().copy() for blob in self.top]
        self._clear_parameter_diffs()
        self._record(lambda: self.layer.backward(self.top, wanted, self.bottom))
        results = [blob.diff.read().copy() for blob in (*self.bottom, *self.layer.blobs)]
        if self.layer.records:
            for blob, content in zip(self.top, tops, strict=True):
                blob.diff.write()[...] = content
            self._clear_parameter_diffs()
            self._replay()
            for blob, result in zip((*self.bottom, *self.layer.blobs), results, strict=True):
                np.testing.assert_array_equal(blob.diff.read(), result, "replayed differs")

    def _clear_parameter_diffs(self) -> None:
        for blob in self.layer.blobs:
            blob.diff.write()[...] = 0

    def _record(self, run: Callable[[], Any]) -> None:
        self.replays = recorded(self.layer.ops, run)

    def _replay(self) -> None:
        with np.errstate(all="ignore"):  # as Program.run
            for step in self.replays:
                step()


def make_layer(
    param: str | LayerParameter,
    bottoms: Sequence[Any],
    *,
    ops: Ops | None = None,
    phase: int = TRAIN,
    seed: int = 1,
    folders: tuple[Path, ...] = (Path(),),
) -> LayerRun:
    """Sets a layer up as a net would, from the inside of a `layer { }` block or a message."""
    run = single_layer.make_layer(param, bottoms, ops=ops, phase=phase, seed=seed, folders=folders)
    return LayerRun(run.layer, run.bottom, run.top, phase)


def compare(found: Any, expected: Any, what: str, rtol: float = RTOL, atol: float = ATOL) -> None:
    """Equal within tolerance, nan where nan is expected."""
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=what)


def run_golden(folder: Path, ops: Ops, compare: Compare = compare) -> None:
    """Runs one case of golden/layers on a backend and compares everything that was recorded."""
    case = dict(np.load(folder / "case.npz"))
    net = text_format.Parse((folder / "net.prototxt").read_bytes(), NetParameter())
    param = next(layer for layer in net.layer if layer.name == "layer")
    bottoms = _numbered(case, "bottom_")
    first = _numbered(case, "pre_0_bottom_") or bottoms
    phase = TEST if int(case["phase"]) else TRAIN
    run = make_layer(param, first, ops=ops, phase=phase, folders=(folder,))
    for blob, array in zip(run.layer.blobs, _numbered(case, "param_"), strict=True):
        blob.data.write()[...] = array
    passes = 0
    while f"pre_{passes}_bottom_0" in case:
        _set(run.bottom, _numbered(case, f"pre_{passes}_bottom_"))
        run.layer.reshape(run.bottom, run.top)
        run.layer.forward(run.bottom, run.top)
        passes += 1
    _set(run.bottom, bottoms)
    tops = run.forward()
    for index, top in enumerate(tops):
        if f"top_{index}" in case:
            expected = case[f"top_{index}"]
            assert top.shape == expected.shape, f"top {index}"
            compare(top, expected, f"top {index}")
    for index, blob in enumerate(run.layer.blobs):
        if f"param_after_{index}" in case:
            compare(
                blob.data.read(), case[f"param_after_{index}"], f"parameter {index} after forward"
            )
    if "loss" in case:
        loss = sum(
            run.layer.loss_weight(index) * top.sum(dtype=np.float64)
            for index, top in enumerate(tops)
        )
        compare(np.float32(loss), case["loss"], "loss")
    wanted = [f"bottom_diff_{index}" in case for index in range(len(bottoms))]
    if not any(key.startswith(("bottom_diff_", "param_diff_")) for key in case):
        return
    for index, blob in enumerate(run.top):
        if f"top_diff_{index}" in case:
            blob.diff.write()[...] = case[f"top_diff_{index}"]
    run.backward(wanted)
    for index, blob in enumerate(run.bottom):
        if wanted[index]:
            compare(blob.diff.read(), case[f"bottom_diff_{index}"], f"gradient of bottom {index}")
    for index, blob in enumerate(run.layer.blobs):
        if f"param_diff_{index}" in case:
            compare(blob.diff.read(), case[f"param_diff_{index}"], f"gradient of parameter {index}")


def golden_cases(layer_type: str) -> list[Path]:
    """The folders of golden/layers and golden/fork_layers that hold cases of a layer type."""
    golden = Path(__file__).parent / "golden"
    folders = sorted(golden.glob(f"*layers/{layer_type}__*"))
    assert folders, f"no golden cases for {layer_type}"
    return folders


def _numbered(case: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    arrays = []
    while f"{prefix}{len(arrays)}" in case:
        arrays.append(case[f"{prefix}{len(arrays)}"])
    return arrays


def _set(blobs: Sequence[Blob], arrays: Sequence[np.ndarray]) -> None:
    for blob, array in zip(blobs, arrays, strict=True):
        blob.reshape(array.shape)
        blob.data.write()[...] = array
