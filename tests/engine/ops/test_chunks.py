"""Ops that work on a part of their arrays at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffepy.engine.ops.numpy import arrays
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import make_layer

SHAPE = 3, 4, 5, 2
LAYERS = {
    "BNLL": "",
    "BatchNorm": "",
    "ELU": "elu_param { alpha: 0.5 }",
    "Exp": "exp_param { base: 2 }",
    "Log": "log_param { shift: 9 }",
    "MVN": "",
    "PReLU": "",
    "Power": "power_param { power: 3 }",
    "ReLU": "relu_param { negative_slope: 0.1 }",
    "Reduction": "reduction_param { operation: ASUM axis: 1 }",
    "Sigmoid": "",
    "Swish": "swish_param { beta: 2 }",
    "TanH": "",
}


@given(st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(1, 9)), st.integers(1, 40))
def test_blocks_cover_everything_once(shape: tuple[int, int, int], chunk: int) -> None:
    seen = np.zeros(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK", chunk)
        for block in arrays.blocks(shape):
            seen[block] += 1
            assert math.prod(seen[block].shape) <= max(chunk, shape[2])
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("layer_type", "in_place"),
    [*((one, False) for one in LAYERS), *((one, True) for one in LAYERS if one != "Reduction")],
)
def test_small_chunks_give_what_all_at_once_gives(
    layer_type: str, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = f'type: "{layer_type}" {LAYERS[layer_type]}'
    if in_place:
        fields += ' bottom: "x" top: "x"'

    def results() -> list[np.ndarray]:
        random = np.random.default_rng(3)
        run = make_layer(fields, [random.standard_normal(SHAPE)], ops=NumpyOps(np.float64))
        found = [*run.forward()]
        run.top[0].diff.write()[...] = random.standard_normal(run.top[0].shape)
        run.backward()
        found += [run.bottom[0].diff.read(), *(blob.diff.read() for blob in run.layer.blobs)]
        return [array.copy() for array in found]

    whole = results()
    monkeypatch.setattr(arrays, "CHUNK", 7)
    for found, expected in zip(results(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class WatchedScratch(arrays.Scratch):
    """Knows the largest array that was taken."""

    largest = 0

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = super().take(name, shape, dtype)
        self.largest = max(self.largest, array.size)
        return array


@pytest.mark.parametrize("layer_type", LAYERS)
def test_scratch_is_one_chunk_however_large_the_blobs_are(
    layer_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "CHUNK", 320)
    ops = NumpyOps()
    ops.scratch = watched = WatchedScratch()
    run = make_layer(
        f'type: "{layer_type}" {LAYERS[layer_type]}', [np.ones((50, 2, 4, 4))], ops=ops
    )
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert watched.largest == 320
