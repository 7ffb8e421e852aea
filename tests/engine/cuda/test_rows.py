"""Embed and BatchReindex on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda import rows
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

EMBED = """type: "Embed" embed_param {{ num_output: {} input_dim: {} bias_term: {}
  weight_filler {{ type: "gaussian" }} }}"""


@pytest.fixture(params=["in order", "atomic"], autouse=True)
def additions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which gradients are added up."""
    if request.param == "atomic":
        monkeypatch.setattr(rows, "FEW_LOOKS", -1)


@pytest.mark.parametrize("bias", ["true", "false"])
@pytest.mark.parametrize(("size", "input_dim", "count"), [(1, 1, 1), (3, 7, 150), (67, 5, 11)])
def test_embed_equals_the_numpy_engine(
    size: int, input_dim: int, count: int, bias: str, cuda_runtime: CudaRuntime
) -> None:
    places = np.random.default_rng(0).integers(0, input_dim, (count,)) + 0.5  # cut to integers
    param = EMBED.format(size, input_dim, bias)
    check_parity(cuda_runtime, param, [places], propagate_down=[False])


@pytest.mark.parametrize("places", [[0], [3, 3, 0, 4], [], [1] * 70 + [2] * 70])
@pytest.mark.parametrize("shape", [(5,), (5, 67), (5, 2, 3)])
def test_batch_reindex_equals_the_numpy_engine(
    shape: tuple[int, ...], places: list[int], cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    bottoms = [x, np.array(places, np.float64)]
    check_parity(cuda_runtime, 'type: "BatchReindex"', bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("bad", [-1, 3, np.nan])
def test_a_place_that_is_no_row_is_refused_by_the_host_or_told_to_the_watch(
    bad: float, cuda_runtime: CudaRuntime
) -> None:
    ops = CudaOps(cuda_runtime, np.float64)
    op = ops.take_rows(3, 2, "layer 'y'")
    x, places, out = (Value(shape, np.float64) for shape in ((3, 2), (2,), (2, 2)))
    x.write()[...] = 1
    places.write()[...] = 0, bad
    with pytest.raises(LabelError, match="expected 0 to 2, got"):
        op.forward(x, places, out=out)
    places.modify(ops.layout)  # as if another op had made it
    op.forward(x, places, out=out)
    np.testing.assert_array_equal(out.read(), [[1, 1], [0, 0]])
    with pytest.raises(LabelError, match="expected 0 to 2, got"):
        ops.watch.check()
