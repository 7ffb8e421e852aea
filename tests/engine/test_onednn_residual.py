"""The gradient of a sum with ReLU in place of it, as one step on oneDNN: nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from tests.conftest import onednn_ops
from tests.nets import make_net

SHAPE = (2, 18, 7, 5)
CONVOLUTION = """layer {{ name: "{top}" type: "Convolution" bottom: "{bottom}" top: "{top}"
  convolution_param {{ num_output: 18 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}"""
BLOCK = """layer {{ name: "{top}" type: "Eltwise" bottom: "{a}" bottom: "{b}" top: "{top}"
  eltwise_param {{ {more} }} }}
  layer {{ name: "{top}/relu" type: "ReLU" bottom: "{top}" top: "{top}" }}"""
MERGED = "OneDnnRelu.backward and EltwiseSum"


@pytest.fixture(autouse=True)
def no_diff_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)


def net_of(ops: Ops, keep: bool = False, more: str = "") -> Net:
    """Two blocks, the second with the first as its shortcut."""
    layers = [
        CONVOLUTION.format(bottom="x", top="a"),
        CONVOLUTION.format(bottom="x", top="b"),
        BLOCK.format(a="a", b="b", top="one", more=more),
        CONVOLUTION.format(bottom="one", top="c"),
        BLOCK.format(a="c", b="one", top="two", more=more),
    ]
    net = make_net(
        f"""layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{
          {" ".join(f"dim: {size}" for size in SHAPE)} }} }} }}
        {" ".join(layers)}
        layer {{ name: "last" type: "Convolution" bottom: "two" top: "last" convolution_param {{
          num_output: 4 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "loss" type: "Reduction" bottom: "last" top: "loss" loss_weight: 0.1
          reduction_param {{ operation: SUMSQ }} }}
        force_backward: true""",
        ops,
        seed=3,
        keep=keep,
    )
    net.blobs["x"].data.write()[...] = np.random.default_rng(0).standard_normal(SHAPE)
    return net


def left_by(net: Net) -> list[np.ndarray]:
    """The blobs' data, the gradients of parameters, and all others where they are kept."""
    values = [blob.data for blob in net.blobs.values()]
    blobs = [] if net.passing_diffs else list(net.blobs.values())
    blobs += [one.blob for one in net.parameters.learnable]
    return [value.read().copy() for value in (*values, *(blob.diff for blob in blobs))]


def run(net: Net) -> list[np.ndarray]:
    net.parameters.clear_diffs()
    net.forward_backward()
    return left_by(net)


def step_names(net: Net) -> list[str]:
    program = net._whole.programs["backward"]
    assert program is not None
    return [step.name for _, step in program.steps]


def compare(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keep", [False, True])
def test_one_step_gives_the_numbers_of_two(keep: bool) -> None:
    net, reference = net_of(onednn_ops(), keep), net_of(NumpyOps(np.float64), keep)
    for _ in range(3):
        compare(run(net), run(reference))
    names = step_names(net)
    assert names.count(MERGED) == 2
    following = [names[index + 1] for index, name in enumerate(names[:-1]) if name == MERGED]
    assert "release" not in following


def test_other_sums_stay_steps() -> None:
    more = "coeff: 1 coeff: -1"
    net, reference = net_of(onednn_ops(), more=more), net_of(NumpyOps(np.float64), more=more)
    for _ in range(2):
        compare(run(net), run(reference))
    assert MERGED not in step_names(net)


def test_passes_layer_by_layer_go_together_with_merged_ones() -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps(np.float64))
    run(net)
    last = len(net.layers) - 1
    for forward, backward in ((Net.forward, Net.repeat_backward), (None, Net.backward)):
        net.parameters.clear_diffs()
        if forward is not None:
            forward(net)
        else:
            net.forward(0, last - 1), net.forward(last, last)
        backward(net)
        compare(left_by(net), run(reference))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_comes_out_as_on_numpy(special: float) -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps())
    run(net), run(reference)
    for each in (net, reference):
        each.blobs["x"].data.modify()[1, 2, 3, 3] = special
    for found, expected in zip(run(net), run(reference), strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize("blob", ["one", "two", "a"])
@pytest.mark.parametrize("part", ["data", "diff"])
def test_arrays_that_python_holds_are_right_at_any_time(blob: str, part: str) -> None:
    net, reference = net_of(onednn_ops()), net_of(NumpyOps(np.float64), keep=True)
    run(net), run(reference)
    held = getattr(net.blobs[blob], part).lease()
    for _ in range(2):
        compare(run(net)[-6:], run(reference)[-6:])
        if (blob, part) != ("one", "diff"):  # of a blob with two readers, Split has the gradient
            compare([held], [getattr(reference.blobs[blob], part).read()])
