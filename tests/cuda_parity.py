"""The GPU engine against the numpy reference, layer by layer, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TRAIN
from tests.harness import LayerRun, make_layer

RTOL, ATOL = 1e-9, 1e-11  # float64: sums in another order, functions of another library


def check_parity(
    runtime: CudaRuntime,
    param: str,
    bottoms: Sequence[Any],
    *,
    phase: int = TRAIN,
    propagate_down: Sequence[bool] | None = None,
    backward: bool = True,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> None:
    """Runs a layer forward and backward twice on both engines, with equal parameters, random
    gradients of its tops, and compares tops, gradients and parameters.

    runtime: the GPU.  param: the inside of a `layer { }` block.
    """
    compare_engines(
        NumpyOps(np.float64),
        CudaOps(runtime, np.float64),
        param,
        bottoms,
        phase=phase,
        propagate_down=propagate_down,
        backward=backward,
        rtol=rtol,
        atol=atol,
    )


def compare_engines(
    reference: Ops,
    ops: Ops,
    param: str,
    bottoms: Sequence[Any],
    *,
    phase: int = TRAIN,
    propagate_down: Sequence[bool] | None = None,
    backward: bool = True,
    rtol: float,
    atol: float,
) -> None:
    """What `check_parity` does, on two engines."""
    runs = [
        _results(each, param, bottoms, phase, propagate_down, backward) for each in (reference, ops)
    ]
    for (what, expected), (_, found) in zip(*runs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=what)


def _results(
    ops: Ops,
    param: str,
    bottoms: Sequence[Any],
    phase: int,
    propagate_down: Sequence[bool] | None,
    backward: bool,
) -> list[tuple[str, np.ndarray]]:
    run = make_layer(param, bottoms, ops=ops, phase=phase)
    random = np.random.default_rng(1)
    found: list[tuple[str, np.ndarray]] = []
    for number in range(2):
        found += [(f"pass {number}, top", top) for top in run.forward()]
        if backward:
            for top in run.top:
                top.diff.write()[...] = random.standard_normal(top.shape)
            run.backward(propagate_down)
            found += _gradients(run, number, propagate_down)
        found += [
            (f"pass {number}, parameter {index}", blob.data.read().copy())
            for index, blob in enumerate(run.layer.blobs)
        ]
    return found


def _gradients(
    run: LayerRun, number: int, propagate_down: Sequence[bool] | None
) -> list[tuple[str, np.ndarray]]:
    wanted = propagate_down or [True] * len(run.bottom)
    return [
        (f"pass {number}, gradient of bottom {index}", blob.diff.read().copy())
        for index, (blob, want) in enumerate(zip(run.bottom, wanted, strict=True))
        if want
    ] + [
        (f"pass {number}, gradient of parameter {index}", blob.diff.read().copy())
        for index, blob in enumerate(run.layer.blobs)
    ]
