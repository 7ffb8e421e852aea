"""Chains of elementwise, normalising and shape layers in a net: in place, through views, with
batches that grow, shrink and vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from tests.conftest import onednn_ops
from tests.nets import make_net
from tests.padded_ops import PaddedOps

BACKENDS: dict[str, Callable[[], Ops]] = {
    "numpy": NumpyOps,
    "padded": PaddedOps,
    "onednn": onednn_ops,
}
GAUSSIAN = '{ type: "gaussian" }'
# Those whose gradient does not need the top, so that any may follow any in place.
IN_PLACE = (
    'type: "BNLL"',
    'type: "ELU" elu_param { alpha: 0.5 }',
    'type: "Swish" swish_param { beta: 0.7 }',
    'type: "ReLU" relu_param { negative_slope: -0.5 }',
    'type: "PReLU"',
    'type: "Clip" clip_param { min: -0.7 max: 0.9 }',
    'type: "Power" power_param { power: 2 scale: 0.5 shift: 0.3 }',
    f'type: "Scale" scale_param {{ filler {GAUSSIAN} bias_term: true }}',
    f'type: "Bias" bias_param {{ axis: 1 num_axes: -1 filler {GAUSSIAN} }}',
    'type: "BatchNorm" batch_norm_param { use_global_stats: true }',
    'type: "Dropout" dropout_param { dropout_ratio: 0.3 }',
)
OF_TOP = (  # whose gradient needs it
    'type: "TanH"',
    'type: "Sigmoid"',
    'type: "Exp" exp_param { scale: 0.3 }',
    'type: "MVN" mvn_param { eps: 0.1 }',
)
VIEWS = (
    'type: "Reshape" reshape_param { shape { dim: 0 dim: 0 dim: -1 } }',
    'type: "Reshape" reshape_param { shape { dim: 0 dim: 0 dim: 2 dim: -1 } }',
    'type: "Flatten" flatten_param { axis: 2 }',
    'type: "Slice"',
    'type: "Concat"',
)
LINKS = st.lists(
    st.sampled_from((*IN_PLACE, *OF_TOP, *VIEWS, 'type: "AbsVal"')), min_size=1, max_size=7
)


def chain(links: list[str], in_place: bool) -> str:
    """A net of x (3, 4, 2, 3), the links, samples selected by `keep`, and a loss."""
    layers = [
        """layer { name: "in" type: "Input" top: "x" top: "keep" input_param {
          shape { dim: 3 dim: 4 dim: 2 dim: 3 } shape { dim: 3 } } }""",
        f"""layer {{ name: "first" type: "Bias" bottom: "x" top: "first"
          bias_param {{ filler {GAUSSIAN} }} }}""",
    ]
    blob, needed = "first", False  # needed: by the gradient of the layer below
    for index, link in enumerate(links):
        inside = in_place and link in IN_PLACE and not needed
        top = blob if inside else f"top{index}"
        layers.append(f'layer {{ name: "link{index}" bottom: "{blob}" top: "{top}" {link} }}')
        # a view of what is needed is needed too
        needed = link in OF_TOP or (needed and link in VIEWS)
        blob = top
    layers += [
        f'layer {{ name: "filter" type: "Filter" bottom: "{blob}" bottom: "keep" top: "kept" }}',
        f"""layer {{ name: "ip" type: "InnerProduct" bottom: "kept" top: "ip"
          inner_product_param {{ num_output: 3 weight_filler {GAUSSIAN} }} }}""",
        """layer { name: "sum" type: "Reduction" bottom: "ip" top: "sum" loss_weight: 1
          reduction_param { operation: SUMSQ } }""",
    ]
    return "\n".join(layers)


def run(net: Net, x: np.ndarray, keep: np.ndarray, passes: int) -> dict[str, np.ndarray]:
    """Loss, output of the chain and gradients of a pass that is the next after `passes`."""
    for name, array in (("x", x), ("keep", keep)):
        net.blobs[name].reshape(array.shape)
        net.blobs[name].data.write()[...] = array
    net.passes.value = passes
    net.parameters.clear_diffs()
    net.forward_backward()
    found = {"loss": net.loss.read().copy(), "kept": net.blobs["kept"].data.read().copy()}
    for parameter in net.parameters.learnable:
        found[parameter.blob.name] = parameter.blob.diff.read().copy()
    return found


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, f"{what}: {key}")


@pytest.fixture(autouse=True, scope="module")
def no_diff_is_too_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifetimes, "SMALLEST", 0)
        yield


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15, deadline=None)
@given(links=LINKS, samples=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_working_in_place_and_earlier_shapes_change_no_number(
    links: list[str], samples: list[int], backend: str
) -> None:
    random = np.random.default_rng(0)
    ops = BACKENDS[backend]()
    used = make_net(chain(links, True), ops, seed=5)
    passing = make_net(chain(links, True), ops, seed=5, keep=False)
    for passes, count in enumerate(np.repeat(samples, 2)):
        x = random.standard_normal((count, 4, 2, 3)).astype(np.float32)
        keep = random.integers(0, 2, count)
        found = run(used, x, keep, passes)
        fresh = run(make_net(chain(links, True), ops, seed=5), x, keep, passes)
        compare(found, fresh, f"pass {passes} of a used net")
        apart = run(make_net(chain(links, False), ops, seed=5), x, keep, passes)
        compare(found, apart, "in place")
        compare(run(passing, x, keep, passes), found, "gradients that take turns in memory")
