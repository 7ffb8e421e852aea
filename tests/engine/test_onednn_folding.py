"""What follows a product with weights in phase TEST, as one primitive of oneDNN with it."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.passes import lifetimes
from caffepy.proto.caffe_pb2 import TEST
from tests.conftest import onednn_ops
from tests.nets import make_net
from tests.onednn_values import assert_padding_is_zero

TOLERANCE = 1e-5  # of float32, where the order of products and sums differs
SHAPE = (2, 6, 7, 5)
GAUSSIAN = '{ type: "gaussian" }'
CHAIN = {
    "bn": 'type: "BatchNorm" batch_norm_param { eps: 0.01 }',
    "scale": f'type: "Scale" scale_param {{ filler {GAUSSIAN} bias_term: true }}',
    "factor": f'type: "Scale" scale_param {{ filler {GAUSSIAN} }}',
    "shift": f'type: "Bias" bias_param {{ filler {GAUSSIAN} }}',
    "relu": 'type: "ReLU"',
}


def layer(name: str, text: str, bottom: str = "y", top: str = "y") -> str:
    return f'layer {{ name: "{name}" bottom: "{bottom}" top: "{top}" {text} }}'


def convolution(name: str, bottom: str, top: str, group: int = 1, bias: bool = True) -> str:
    text = f"""type: "Convolution" convolution_param {{ num_output: 18 kernel_size: 3 pad: 1
      group: {group} bias_term: {str(bias).lower()}
      weight_filler {GAUSSIAN} bias_filler {GAUSSIAN} }}"""
    return layer(name, text, bottom, top)


HEAD = """force_backward: true
layer { name: "in" type: "Input" top: "x" input_param {
  shape { dim: 2 dim: 6 dim: 7 dim: 5 } } }"""
LOSS = layer("loss", 'type: "Reduction" loss_weight: 1', top="loss")


def net_of(*layers: str, keep: bool = True) -> Net:
    net = make_net("\n".join((HEAD, *layers)), onednn_ops(), phase=TEST, seed=3, keep=keep)
    random = np.random.default_rng(7)
    for one in net.layers:
        if one.type == "BatchNorm":
            for blob, least in zip(one.blobs, (-2, 0.5, 2), strict=True):
                blob.data.write()[...] = random.uniform(least, least + 2, blob.shape)
    net.blobs["x"].data.write()[...] = random.standard_normal(SHAPE)
    return net


def chain_net(names: list[str], group: int = 1, bias: bool = True, keep: bool = True) -> Net:
    chain = [layer(name, CHAIN[name]) for name in names]
    return net_of(convolution("conv", "x", "y", group, bias), *chain, LOSS, keep=keep)


def step_names(net: Net) -> list[str]:
    program = net._whole.programs["forward"]
    assert program is not None
    return [step.name for _, step in program.steps]


def apart(net: Net) -> dict[str, np.ndarray]:
    """The content of all blobs after each layer ran by itself."""
    for index in range(len(net.layers)):
        net.forward(index, index)
    return {name: blob.data.read().copy() for name, blob in net.blobs.items()}


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize(
    "names",
    [
        ["bn", "scale", "relu"],
        ["bn", "relu"],
        ["scale"],
        ["factor", "bn"],
        ["shift", "relu"],
        ["scale", "shift", "bn", "factor", "relu"],
    ],
    ids="-".join,
)
@pytest.mark.parametrize(("group", "bias"), [(1, True), (2, False), (6, True)])
def test_a_chain_in_place_is_one_step_with_the_same_numbers(
    names: list[str], group: int, bias: bool
) -> None:
    net = chain_net(names, group, bias)
    expected = apart(net)
    for _ in range(2):  # recorded, and replayed
        net.forward()
        assert_close(net.blobs["y"].data.read(), expected["y"])
        assert_padding_is_zero(net.blobs["y"].data)
    steps = step_names(net)
    assert steps[0].count(" and ") == len(names)
    assert steps[0].startswith("OneDnnConvolution.forward and ")


def test_the_first_pass_gives_the_same_bits_as_the_next() -> None:
    net = chain_net(["bn", "scale", "relu"])
    net.forward()
    first = net.blobs["y"].data.read().copy()
    net.forward()
    np.testing.assert_array_equal(net.blobs["y"].data.read(), first)


def test_statistics_never_collected_count_as_zero() -> None:
    net = chain_net(["bn"])
    for blob in net.layers[2].blobs:
        blob.data.write()[...] = 0
    expected = apart(net)
    net.forward()
    assert_close(net.blobs["y"].data.read(), expected["y"])


@pytest.mark.parametrize("held", [False, True])
def test_what_is_written_into_parameters_counts_in_the_next_pass(held: bool) -> None:
    net = chain_net(["bn", "scale"])
    arrays = [blob.data.lease() for one in net.layers for blob in one.blobs] if held else []
    net.forward()
    for one in net.layers:
        for blob in one.blobs:
            blob.data.modify()[...] *= 1.5
            net.forward()
            found = net.blobs["y"].data.read().copy()
            assert_close(found, apart(net)["y"])
    assert len(arrays) == (7 if held else 0)


@pytest.mark.parametrize("place", ["x", 0, 1, 2, 3, 4, 5, 6])
def test_nan_shows_where_it_does_layer_by_layer(place: str | int) -> None:
    net = chain_net(["bn", "scale", "relu"])
    blobs = [blob for one in net.layers for blob in one.blobs]
    value = net.blobs["x"].data if isinstance(place, str) else blobs[place].data
    value.modify().reshape(-1)[0] = np.nan
    expected = apart(net)
    net.forward()
    np.testing.assert_array_equal(np.isnan(net.blobs["y"].data.read()), np.isnan(expected["y"]))
    assert np.isnan(expected["y"]).any()


def test_an_array_that_python_holds_shows_the_result() -> None:
    net = chain_net(["bn", "scale", "relu"])
    expected = apart(net)
    held = net.blobs["y"].data.lease()
    held[...] = 7
    net.forward()
    assert_close(held, expected["y"])


@pytest.mark.parametrize("forwards", [1, 2])
def test_gradients_after_a_folded_pass_are_those_layer_by_layer(forwards: int) -> None:
    nets = [chain_net(["bn", "scale", "relu"]) for _ in range(2)]
    apart(nets[0])
    for _ in range(forwards):
        nets[1].forward()
    found = []
    for net in nets:
        net.parameters.clear_diffs()
        net.backward()
        values = [net.blobs["x"].diff, *(one.blob.diff for one in net.parameters.learnable)]
        found.append([value.read().copy() for value in values])
    for expected, own in zip(*found, strict=True):
        assert_close(own, expected)
    assert sum(bool(one.any()) for one in found[0]) == 5  # all but the statistics
    nets[1].forward()
    assert "OneDnnScale.forward" in step_names(nets[1])


def test_gradients_are_right_after_a_pass_in_which_a_layer_changed_the_shapes() -> None:
    chosen = """layer { name: "keep" type: "Input" top: "keep" input_param { shape { dim: 2 } } }
      layer { name: "chosen" type: "Filter" bottom: "x" bottom: "keep" top: "chosen" }"""
    chain = [layer(name, CHAIN[name]) for name in ("bn", "scale", "relu")]
    nets = [net_of(chosen, convolution("conv", "chosen", "y"), *chain, LOSS) for _ in range(2)]
    for keep in ([1, 1], [0, 1]):
        for net in nets:
            net.blobs["keep"].data.write()[...] = keep
        apart(nets[0])
        nets[1].forward()
    recorded = nets[1]._whole.programs["forward"]
    nets[1].forward()
    assert nets[1]._whole.programs["forward"] is recorded
    assert step_names(nets[1])[1].count(" and ") == 3
    found = []
    for net in nets:
        net.parameters.clear_diffs()
        net.backward()
        values = [net.blobs["x"].diff, *(one.blob.diff for one in net.parameters.learnable)]
        found.append([value.read().copy() for value in values])
    for expected, own in zip(*found, strict=True):
        assert_close(own, expected)
    assert found[0][0].any()


def test_a_scale_by_numbers_that_the_net_computes_stays_a_step() -> None:
    net = make_net(
        f"""layer {{ name: "in" type: "Input" top: "x" input_param {{
          shape {{ dim: 1 dim: 6 dim: 7 dim: 5 }} }} }}
        {layer("mean", 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }',
               "x", "mean")}
        {layer("gate", f'type: "InnerProduct" inner_product_param {{ num_output: 18 '
               f'weight_filler {GAUSSIAN} }}', "mean", "gate")}
        {convolution("conv", "x", "y")}
        layer {{ name: "scale" type: "Scale" bottom: "y" bottom: "gate" top: "y"
          scale_param {{ axis: 0 }} }}""",
        onednn_ops(),
        phase=TEST,
        seed=3,
    )  # fmt: skip
    net.blobs["x"].data.write()[...] = 1
    net.forward()
    assert "OneDnnScale.forward" in step_names(net)


def block(first: str, second: str, coeff: str = "", after: str = "") -> str:
    """A residual block: y is the sum of a shortcut and of a convolution."""
    add = f'layer {{ name: "add" type: "Eltwise" bottom: "{first}" bottom: "{second}" top: "y"'
    return "\n".join(
        (
            convolution("short", "x", "short"),
            convolution("conv", "x", "conv"),
            layer("bn", CHAIN["bn"], "conv", "conv"),
            f"{add} eltwise_param {{ {coeff} }} }}",
            layer("relu", CHAIN["relu"]),
            after,
            LOSS,
        )
    )


@pytest.fixture
def no_blob_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)


@pytest.mark.parametrize("order", [("short", "conv"), ("conv", "short")])
@pytest.mark.usefixtures("no_blob_is_too_small")
@pytest.mark.usefixtures("wide_vectors")
def test_a_convolution_adds_a_shortcut_in_a_net_that_gives_up_its_data(
    order: tuple[str, str],
) -> None:
    expected = apart(net_of(block(*order)))
    net = net_of(block(*order), keep=False)
    for _ in range(2):
        net.forward()
        assert_close(net.blobs["loss"].data.read(), expected["loss"])
    assert any(name.endswith("BatchNorm and Eltwise and ReLU") for name in step_names(net))


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        pytest.param(block("short", "conv"), True, id="kept"),
        pytest.param(block("short", "conv", "coeff: 1 coeff: -1"), False, id="coefficients"),
        pytest.param(block("conv", "conv"), False, id="twice"),
        pytest.param(
            block("short", "conv", after=layer("more", 'type: "TanH"', "conv", "more")),
            False,
            id="read again",
        ),
    ],
)
@pytest.mark.usefixtures("no_blob_is_too_small")
def test_other_sums_stay_steps(text: str, keep: bool) -> None:
    expected = apart(net_of(text))
    net = net_of(text, keep=keep)
    net.forward()
    assert "OneDnnEltwiseSum.forward" in step_names(net)
    assert_close(net.blobs["loss"].data.read(), expected["loss"])


def test_two_convolutions_before_their_relus_take_each_its_own() -> None:
    net = net_of(
        convolution("one", "x", "one"),
        convolution("two", "x", "two"),
        layer("relu1", CHAIN["relu"], "one", "one"),
        layer("relu2", CHAIN["relu"], "two", "two"),
    )
    expected = apart(net)
    net.forward()
    assert step_names(net).count("OneDnnConvolution.forward and ReLU") == 2
    for name in ("one", "two"):
        np.testing.assert_array_equal(net.blobs[name].data.read(), expected[name])


def test_an_inner_product_takes_its_relu() -> None:
    product = f"""type: "InnerProduct" inner_product_param {{ num_output: 17
      weight_filler {GAUSSIAN} bias_filler {GAUSSIAN} }}"""
    net = net_of(layer("ip", product, "x", "y"), layer("relu", CHAIN["relu"]))
    expected = apart(net)
    net.forward()
    assert "OneDnnInnerProduct.forward and ReLU" in step_names(net)
    np.testing.assert_array_equal(net.blobs["y"].data.read(), expected["y"])


def test_gradients_come_of_the_shapes_of_the_last_pass_even_if_that_was_no_folded_one() -> None:
    folded, apart = (chain_net(["bn", "scale", "relu"]) for _ in range(2))
    folded.forward()
    x = np.random.default_rng(5).standard_normal((3, 6, 5, 4))
    found = []
    for net in (folded, apart):
        net.hooks.before_forward.append(lambda _: None)  # layer by layer
        net.blobs["x"].reshape(x.shape)
        net.blobs["x"].data.write()[...] = x
        net.forward()
        net.parameters.clear_diffs()
        net.backward()
        values = [net.blobs["x"].diff, *(one.blob.diff for one in net.parameters.learnable)]
        found.append([value.read().copy() for value in values])
    for own, expected in zip(*found, strict=True):
        assert_close(own, expected)
