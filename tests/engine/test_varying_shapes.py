"""Blobs with another number of rows in each batch: passes stay recorded, and graphs graphs."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.capture import WARM_UP
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, SolverParameter
from tests.layers.test_annotated_data import pictures, write
from tests.nets import make_net

DETECTOR = """
    layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
      data_param { source: "db" backend: LMDB batch_size: 2 } annotated_data_param { } }
    layer { name: "loc" type: "Convolution" bottom: "data" top: "loc" convolution_param {
      num_output: 4 kernel_size: 4 stride: 4 weight_filler { type: "gaussian" std: 0.001 } } }
    layer { name: "conf" type: "Convolution" bottom: "data" top: "conf" convolution_param {
      num_output: 3 kernel_size: 4 stride: 4 weight_filler { type: "gaussian" std: 0.01 } } }
    layer { name: "loc_t" type: "Permute" bottom: "loc" top: "loc_t"
      permute_param { order: 0 order: 2 order: 3 order: 1 } }
    layer { name: "conf_t" type: "Permute" bottom: "conf" top: "conf_t"
      permute_param { order: 0 order: 2 order: 3 order: 1 } }
    layer { name: "loc_flat" type: "Flatten" bottom: "loc_t" top: "loc_flat" }
    layer { name: "conf_flat" type: "Flatten" bottom: "conf_t" top: "conf_flat" }
    layer { name: "priors" type: "PriorBox" bottom: "loc" bottom: "data" top: "priors"
      prior_box_param { min_size: 8 } }
"""
LOSS = """
    layer { name: "loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat"
      bottom: "priors" bottom: "label" top: "loss" propagate_down: true propagate_down: true
      propagate_down: false propagate_down: false
      multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE } }
"""
LOOK = """
    layer { name: "look" type: "Power" bottom: "label" top: "look" }
"""
SCORES = """
    layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat"
      bottom: "priors" top: "found" detection_output_param { num_classes: 3 code_type: CENTER_SIZE
        confidence_threshold: 0.4 nms_param { nms_threshold: 0.3 } } }
    layer { name: "hits" type: "DetectionEvaluate" bottom: "found" bottom: "label" top: "hits"
      detection_evaluate_param { num_classes: 3 } }
"""
PASSES = WARM_UP + 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with one to three boxes in each record."""
    write(tmp_path, pictures(7))
    return tmp_path


def numbers(net: Net) -> list[np.ndarray]:
    """What the tops, and the gradients of parameters, are now."""
    tops = [blob.data.read().copy() for blob in net.blobs.values()]
    return [*tops, *(one.blob.diff.read().copy() for one in net.parameters.learnable)]


def run(net: Net, whole: bool) -> list[np.ndarray]:
    """One pass forward and, in phase TRAIN, one back; the layers one by one, or as a whole."""
    net.parameters.clear_diffs()
    places = range(len(net.layers))
    if whole:
        net.forward()
    for place in () if whole else places:
        net.forward(place, place)
    if net.phase == TRAIN and whole:
        net.backward()
    for place in reversed(places) if net.phase == TRAIN and not whole else ():
        net.backward(place, place)
    return numbers(net)


@pytest.mark.parametrize(("phase", "head"), [(TRAIN, LOSS), (TEST, SCORES)])
def test_a_pass_is_recorded_once_and_gives_the_bits_of_its_layers(
    phase: int, head: str, ops: Ops, folder: Path
) -> None:
    net, alone = (
        make_net(DETECTOR + head, ops, phase=phase, folders=(folder,), seed=1) for _ in range(2)
    )
    shapes, epochs = set(), set()
    for _ in range(PASSES):
        for found, expected in zip(run(net, whole=True), run(alone, whole=False), strict=True):
            np.testing.assert_array_equal(found, expected)
        shapes.add(net.blobs["label"].shape)
        epochs.add(net.epoch.count)
    assert len(shapes) > 1
    assert len(epochs) == 1
    for one in (net, alone):
        one.close()


def test_a_reader_that_is_built_for_a_shape_is_shaped_anew(ops: Ops, folder: Path) -> None:
    net = make_net(DETECTOR + LOSS + LOOK, ops, folders=(folder,))
    shapes = set()
    for _ in range(PASSES):
        net.forward()
        np.testing.assert_array_equal(net.blobs["look"].data.read(), net.blobs["label"].data.read())
        shapes.add(net.blobs["look"].shape)
    assert len(shapes) > 1
    net.close()


def test_the_rest_of_a_pass_runs_as_graphs(
    cuda_runtime: CudaRuntime, launches: list[Graph], folder: Path
) -> None:
    net, reference = (
        make_net(DETECTOR + LOSS, ops, folders=(folder,), seed=1)
        for ops in (CudaOps(cuda_runtime, np.float64), NumpyOps(np.float64))
    )
    launched, shapes = [], set()
    for _ in range(PASSES):
        launches.clear()
        for found, expected in zip(run(net, True), run(reference, True), strict=True):
            np.testing.assert_allclose(found, expected, 1e-9, 1e-9)
        launched.append(len(launches))
        shapes.add(net.blobs["label"].shape)
    assert len(shapes) > 1
    assert launched[-1] > 1
    assert set(launched[WARM_UP + 1 :]) == {launched[-1]}
    for one in (net, reference):
        one.close()


def test_so_do_iterations_of_a_training(
    cuda_runtime: CudaRuntime,
    launches: list[Graph],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    param = SolverParameter(
        net_param=text.parse(DETECTOR + LOSS, NetParameter), base_lr=1e-4, momentum=0.9,
        lr_policy="fixed", max_iter=PASSES, random_seed=1,
    )  # fmt: skip
    make = functools.partial(
        Solver, registry=LAYERS, make_net=functools.partial(Net, keep=False), honour_mode=False
    )
    ours, reference = (
        make(Settings(param), ops=ops)
        for ops in (CudaOps(cuda_runtime, np.float64), NumpyOps(np.float64))
    )
    for _ in range(PASSES):
        launches.clear()
        for one in (ours, reference):
            one.step(1)
        np.testing.assert_allclose(ours.net.loss.read(), reference.net.loss.read(), 1e-9)
    assert len(launches) == 3  # in front of the loss, in it, and behind it
    for one in (ours, reference):
        one.close()
