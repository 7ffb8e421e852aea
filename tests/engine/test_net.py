"""Net: construction against Caffe's recorded shapes, running, sharing, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine import filler
from caffepy.engine.core.errors import CaffepyError, NetError, ShapeError
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetState
from tests.nets import make_net

NETS = Path(__file__).resolve().parents[1] / "golden" / "nets"


# ---- construction, against Caffe

STATES = [
    pytest.param(folder, place, id=f"{folder.name}-{place}")
    for folder in sorted(NETS.iterdir())
    for place in range(len(json.loads((folder / "shapes.json").read_text())["states"]))
]


@pytest.mark.parametrize(("folder", "place"), STATES)
def test_a_net_is_built_as_caffe_builds_it(
    folder: Path, place: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filler, "fill", lambda *arguments: None)  # the numbers do not matter here
    caplog.set_level("INFO", "caffepy")
    expected = json.loads((folder / "shapes.json").read_text())["states"][place]
    state = NetState(phase=TRAIN if expected["phase"] == "TRAIN" else TEST)
    if expected["level"]:
        state.level = expected["level"]
    state.stage.extend(expected["stages"])
    net = make_net(folder / "net.prototxt", state=state)
    needs = [line for line in caplog.messages if line.endswith(" backward computation.")]
    found = [
        {
            "name": layer.name,
            "type": layer.type,
            "bottom": [blob.name for blob in bottom],
            "top": [blob.name for blob in top],
            "param_shapes": [list(blob.shape) for blob in layer.blobs],
            "need_backward": need == f"{layer.name} needs backward computation.",
        }
        for layer, bottom, top, need in zip(
            net.layers, net.bottoms, net.tops, reversed(needs), strict=True
        )
    ]
    assert found == expected["layers"]
    assert {name: list(blob.shape) for name, blob in net.blobs.items()} == expected["blobs"]
    assert net.loss_weights == pytest.approx(expected["loss_weights"])
    assert net.inputs == expected["inputs"]
    assert net.outputs == expected["outputs"]
    assert net.memory_bytes == expected["memory_required_for_data"]
    assert net.parameters.shared == expected["shared_params"]


# ---- running

TWO_LAYERS = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 4 dim: 2 } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip2" bottom: "target" top: "loss" }
layer { name: "double" type: "InnerProduct" bottom: "ip2" top: "out"
  inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
"""


def fill_inputs(net: Net, samples: int, seed: int) -> None:
    """Random inputs of a number of samples."""
    random = np.random.default_rng(seed)
    for name in net.inputs:
        blob = net.blobs[name]
        blob.reshape((samples, *blob.shape[1:]))
        blob.data.write()[...] = random.standard_normal(blob.shape)


def results(net: Net) -> dict[str, np.ndarray]:
    """Copies of everything that a pass left."""
    found = {"loss": net.loss.read().copy()}
    for name, blob in net.blobs.items():
        found[f"data {name}"] = blob.data.read().copy()
        found[f"diff {name}"] = blob.diff.read().copy()
    for place, parameter in enumerate(net.parameters.learnable):
        found[f"gradient {place}"] = parameter.blob.diff.read().copy()
    return found


def one_pass(net: Net, direct: bool) -> None:
    """Forward and backward; direct: layer by layer, without recording."""
    net.parameters.clear_diffs()
    last = len(net.layers) - 1
    if not direct:
        net.forward_backward()
        return
    net.passes.value += 1
    for index in range(last + 1):
        net._forward_layer(index)
    net._add_losses(0, last)
    for index in range(last, -1, -1):
        net._backward_layer(index)


def test_recorded_and_direct_runs_are_bit_equal_while_shapes_change(ops: Ops) -> None:
    recorded, direct = make_net(TWO_LAYERS, ops=ops), make_net(TWO_LAYERS, ops=ops)
    for seed, samples in enumerate([4, 4, 4, 2, 2, 6, 6]):
        for net, is_direct in ((recorded, False), (direct, True)):
            fill_inputs(net, samples, seed)
            one_pass(net, is_direct)
        found, expected = results(recorded), results(direct)
        assert found["data out"].shape == (samples, 1)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, name)


def test_partial_runs_continue_from_what_is_there() -> None:
    net = make_net(TWO_LAYERS)
    fill_inputs(net, 4, 0)
    net.forward()
    expected = results(net)
    names = [layer.name for layer in net.layers]
    net.blobs["ip2"].data.write()[...] = 0
    net.forward(start=names.index("ip2"))
    np.testing.assert_array_equal(net.blobs["out"].data.read(), expected["data out"])
    net.forward(end=names.index("ip1"))
    assert float(net.loss.read()) == 0  # no loss among these layers


def test_a_leased_input_is_seen_by_the_next_pass(ops: Ops) -> None:
    net = make_net(TWO_LAYERS, ops=ops)
    fill_inputs(net, 4, 0)
    net.forward()
    image = net.blobs["data"].data.lease()
    out = net.blobs["out"].data.lease()
    for scale in (0.0, 2.0):
        image[...] = scale
        net.forward()
        other = make_net(TWO_LAYERS, ops=ops)
        for name in net.inputs:
            other.blobs[name].data.write()[...] = net.blobs[name].data.read()
        other.forward()
        np.testing.assert_array_equal(out, other.blobs["out"].data.read())


def test_reshaping_an_input_reshapes_what_follows() -> None:
    net = make_net(TWO_LAYERS)
    for name in net.inputs:
        net.blobs[name].reshape((7, *net.blobs[name].shape[1:]))
    net.reshape()
    assert net.blobs["out"].shape == (7, 1)
    assert net.blobs["loss"].shape == ()


def test_a_refused_shape_is_refused_again_and_another_one_runs(ops: Ops) -> None:
    net = make_net(TWO_LAYERS, ops=ops)
    fill_inputs(net, 4, 0)
    net.forward()
    data, expected = net.blobs["data"], net.blobs["out"].data.read().copy()
    good, content = data.shape, data.data.read().copy()
    data.reshape((*good[:-1], good[-1] + 3))
    for run in (net.forward, net.forward, net.reshape):
        with pytest.raises(ShapeError, match="as when the weights were made"):
            run()
    data.reshape(good)
    data.data.write()[...] = content
    net.forward()
    np.testing.assert_array_equal(net.blobs["out"].data.read(), expected)


def test_the_diff_of_a_loss_is_its_weight_after_a_reshape() -> None:
    net = make_net(TWO_LAYERS.replace('top: "loss"', 'top: "loss" loss_weight: 0.25'))
    fill_inputs(net, 2, 0)
    net.forward_backward()
    assert float(net.blobs["loss"].diff.read()) == 0.25
    assert float(net.loss.read()) == pytest.approx(0.25 * float(net.blobs["loss"].data.read()))


# ---- sharing


def ip(name: str, bottom: str, param: str, outputs: int = 4) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {param} '
        f"inner_product_param {{ num_output: {outputs} bias_term: false "
        'weight_filler { type: "xavier" } } } '
    )


SQUARE = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } } '
LOSS = 'layer { name: "sum" type: "EuclideanLoss" bottom: "b" bottom: "data" top: "sum" } '


def test_shared_parameters_are_one_memory_and_collect_both_gradients(ops: Ops) -> None:
    shared = make_net(
        SQUARE
        + ip("a", "data", 'param { name: "w" }')
        + ip("b", "a", 'param { name: "w" }')
        + LOSS,
        ops=ops,
    )
    plain = make_net(SQUARE + ip("a", "data", "") + ip("b", "a", "") + LOSS, ops=ops)
    assert len(shared.parameters.learnable) == 1
    weights = shared.parameters.learnable[0].blob.data.read()
    for parameter in plain.parameters.learnable:
        parameter.blob.data.write()[...] = weights
    for net in (shared, plain):
        fill_inputs(net, 2, 0)
        one_pass(net, False)
    expected = sum(one.blob.diff.read() for one in plain.parameters.learnable)
    np.testing.assert_allclose(
        shared.parameters.learnable[0].blob.diff.read(), expected, rtol=1e-5, atol=1e-6
    )


def test_permissive_sharing_asks_for_the_same_count_only() -> None:
    spec = 'param { name: "w" share_mode: PERMISSIVE }'
    wide = SQUARE + ip("a", "data", 'param { name: "w" }', 2)  # (2, 4)
    net = make_net(wide + ip("b", "a", spec, 4))  # (4, 2)
    assert [blob.shape for layer in net.layers for blob in layer.blobs] == [(2, 4), (4, 2)]
    with pytest.raises(ShapeError, match=r"'b' .*share parameter 'w'.*PERMISSIVE"):
        make_net(wide + ip("b", "a", 'param { name: "w" }', 4))


def test_multipliers_of_a_shared_parameter_must_agree() -> None:
    first = SQUARE + ip("a", "data", 'param { name: "w" lr_mult: 2 }')
    net = make_net(first + ip("b", "a", 'param { name: "w" decay_mult: 3 }'))
    assert (net.parameters.learnable[0].rate, net.parameters.learnable[0].decay) == (2, 3)
    with pytest.raises(NetError, match=r"'b' .*'w': expected lr_mult 2 .*got 1"):
        make_net(first + ip("b", "a", 'param { name: "w" lr_mult: 1 }'))


def test_a_test_net_sees_the_parameters_of_the_train_net(ops: Ops) -> None:
    train, test = make_net(TWO_LAYERS, ops=ops), make_net(TWO_LAYERS, ops, phase=TEST)
    test.share_parameters(train)
    fill_inputs(test, 4, 0)
    test.forward()
    before = test.blobs["out"].data.read().copy()
    for parameter in train.parameters.learnable:
        parameter.blob.data.modify()[...] *= 2
    test.forward()
    np.testing.assert_allclose(test.blobs["out"].data.read(), 8 * before, rtol=1e-5, atol=1e-5)


def test_nets_of_different_shapes_cannot_share() -> None:
    other = make_net(TWO_LAYERS.replace("num_output: 5", "num_output: 6"))
    with pytest.raises(NetError, match=r"'ip1' .*cannot share.*\(6, 3\).*\(5, 3\)"):
        make_net(TWO_LAYERS).share_parameters(other)


# ---- errors

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } } '


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            'layer { name: "relu" type: "ReLU" bottom: "dta" top: "y" }',
            r"<text>:1: layer 'relu' \(ReLU\): bottom 'dta' .*Did you mean 'data'\?",
        ),
        (
            'layer { name: "a" type: "ReLU" bottom: "data" top: "y" } '
            'layer { name: "b" type: "ReLU" bottom: "data" top: "y" }',
            r"layer 'b' \(ReLU\): top 'y' is already produced by layer 'a'",
        ),
        (
            'layer { name: "a" type: "Slice" bottom: "data" top: "y" top: "y" }',
            r"layer 'a' \(Slice\): top 'y' is already produced by layer 'a'",
        ),
        (
            'layer { name: "a" type: "ReLU" bottom: "data" bottom: "data" top: "y" }',
            r"layer 'a' \(ReLU\): expected 1 bottom blob\(s\), got 2",
        ),
        (
            'layer { name: "a" type: "ReLU" bottom: "data" top: "y" top: "z" }',
            r"layer 'a' \(ReLU\): expected 1 top blob\(s\), got 2",
        ),
        (
            'layer { name: "a" type: "InerProduct" bottom: "data" top: "y" }',
            r":\d+:\d+: layer 'a': type 'InerProduct' does not exist. Did you mean 'InnerProduct'",
        ),
        (
            'layer { name: "a" type: "ReLU" bottom: "data" top: "y" loss_weight: 1 loss_weight: 2}',
            r"layer 'a' \(ReLU\): expected no `loss_weight` or one per top \(1\), got 2",
        ),
        (
            'layer { name: "a" type: "ReLU" bottom: "data" top: "y" propagate_down: true '
            "propagate_down: true }",
            r"layer 'a' \(ReLU\): expected no `propagate_down` or one per bottom \(1\), got 2",
        ),
        (
            'layer { name: "a" type: "InnerProduct" bottom: "data" top: "y" param { } param { } '
            "param { } inner_product_param { num_output: 2 } }",
            r"layer 'a' \(InnerProduct\): expected at most 2 `param` block\(s\).*got 3",
        ),
        (
            'layer { name: "a" type: "InnerProduct" bottom: "data" top: "data" '
            "inner_product_param { num_output: 3 } }",
            r"layer 'a' \(InnerProduct\): it cannot work in place",
        ),
        (
            'layer { name: "a" type: "InnerProduct" bottom: "data" top: "y" '
            'inner_product_param { num_output: 2 weight_filler { type: "magic" } } }',
            r"filler type 'magic' does not exist",
        ),
    ],
)  # fmt: skip
def test_a_net_that_makes_no_sense_is_refused(layers: str, message: str) -> None:
    with pytest.raises(CaffepyError, match=message):
        make_net(INPUT + layers)


def test_an_empty_net_runs_and_does_nothing() -> None:
    net = make_net('name: "nothing"')
    net.forward_backward()
    assert float(net.loss.read()) == 0
