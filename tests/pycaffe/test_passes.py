"""caffe.Net: passes forward and back, whole and in part, over one batch and many; hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import ATOL, RTOL
from tests.pycaffe.nets import TRAIN_NET, TWO_HEADS, open_text

X = np.arange(12, dtype=np.float32).reshape(4, 3) - 5


def heads_of(net: caffe.Net, x: np.ndarray) -> dict[str, np.ndarray]:
    """What TWO_HEADS gives, by numpy."""
    (a, a_bias), (b, b_bias) = ([blob.data for blob in net.params[name]] for name in "ab")
    return {"a": np.maximum(x @ a.T + a_bias, 0), "b": x @ b.T + b_bias}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=RTOL, atol=ATOL, err_msg=name)


# ---- forward


def test_forward_takes_inputs_and_gives_outputs(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS, ops=ops)
    assert_close(net.forward(x=X), heads_of(net, X))
    outputs = net.forward(["x"], x=2 * X)
    assert_close(outputs, {**heads_of(net, 2 * X), "x": 2 * X})
    net.blobs["x"].data[...] = 1
    assert_close(net.forward(), heads_of(net, np.ones((4, 3))))


def test_golden_forward_all(ops: Ops, golden: Path) -> None:
    folder = golden / "pyapi"
    case = np.load(folder / "pyapi.npz")
    net = caffe.Net(folder / "deploy.prototxt", str(folder / "deploy.caffemodel"), 1, ops=ops)
    found = net.forward_all(blobs=["fc"], data=case["forward_all_in"])
    assert_close(found, {name: case[f"forward_all_{name}"] for name in ("prob", "fc")})


def test_golden_shapes_after_reshape(ops: Ops, golden: Path) -> None:
    folder = golden / "pyapi"
    net = caffe.Net(folder / "deploy.prototxt", caffe.TEST, ops=ops)
    net.forward()
    net.blobs["data"].reshape(2, 3, 6, 6)
    net.reshape()
    shapes = {name: blob.shape for name, blob in net.blobs.items()}
    assert shapes == {"data": (2, 3, 6, 6), "c": (2, 4, 4, 4), "fc": (2, 5), "prob": (2, 5)}
    assert net.forward()["prob"].shape == (2, 5)


def test_forward_reshapes_after_an_input(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS, ops=ops)
    for size in (4, 7, 2):
        x = np.full((size, 3), size, np.float32)
        net.blobs["x"].reshape(*x.shape)
        assert_close(net.forward(x=x), heads_of(net, x))


def test_a_shape_that_a_layer_cannot_take_is_an_error_and_the_net_goes_on(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    net.blobs["x"].reshape(4, 2)
    with pytest.raises(ShapeError, match="layer 'a'"):
        net.forward()
    with pytest.raises(ShapeError, match="layer 'a'"):
        net.reshape()
    net.blobs["x"].reshape(4, 3)
    assert_close(net.forward(x=X), heads_of(net, X))


def test_part_of_the_layers_runs_forward(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN, ops)
    net.blobs["conv"].data[...] = np.linspace(-1, 1, net.blobs["conv"].count).reshape(
        net.blobs["conv"].shape
    )
    found = net.forward(start="ip", end="ip")
    weights, bias = (blob.data for blob in net.params["ip"])
    assert_close(found, {"ip_blob": net.blobs["conv"].data.reshape(5, -1) @ weights.T + bias})
    assert not net.blobs["data"].data.any()  # the layers before have not run


def test_end_gives_the_tops_of_that_layer(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    assert list(net.forward(end="x_in_0_split")) == ["x_in_0_split_0", "x_in_0_split_1"]
    assert list(net.forward(["b"], end="a")) == ["a", "b"]
    assert list(net.forward(start="relu")) == ["a", "b"]


def test_the_loss_of_a_pass_is_returned_by_index(tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    assert net._forward(0, 3) == pytest.approx(float(net.blobs["loss"].data))
    assert net._forward(0, 2) == 0


# ---- backward


def test_backward_takes_diffs_of_outputs_and_gives_those_of_inputs(
    ops: Ops, tmp_path: Path
) -> None:
    net = open_text(tmp_path, TWO_HEADS, ops=ops)
    net.forward(x=X)
    a, b = np.full((4, 2), 2, np.float32), np.full((4, 5), 3, np.float32)
    found = net.backward(["b"], a=a, b=b)
    positive = (net.blobs["a"].data > 0) * a
    x = positive @ net.params["a"][0].data + b @ net.params["b"][0].data
    assert_close(found, {"x": x, "b": b})
    np.testing.assert_allclose(net.params["b"][1].diff, b.sum(0), rtol=RTOL)


def test_diffs_of_parameters_add_up_until_they_are_cleared(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN, ops)
    net.forward()
    net.backward()
    held = net.params["conv"][0].diff
    once = held.copy()
    assert once.any()
    net.backward()
    np.testing.assert_allclose(held, 2 * once, rtol=RTOL, atol=ATOL)
    net.clear_param_diffs()
    assert not held.any()
    assert not net.params["ip"][1].diff.any()


def test_part_of_the_layers_runs_back_without_a_forward_pass(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN, ops)
    diff = np.linspace(-1, 1, 65, dtype=np.float32).reshape(5, 13)
    net.blobs["ip_blob"].diff[...] = diff
    found = net.backward(start="ip", end="ip")
    expected = (diff @ net.params["ip"][0].data).reshape(net.blobs["conv"].shape)
    assert_close(found, {"conv": expected})
    assert not net.blobs["ip_blob"].data.any()  # what the blobs hold is left alone


# ---- many batches


@pytest.mark.parametrize("count", [1, 4, 11])
def test_forward_all_runs_any_number_of_samples(count: int, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    x = np.random.default_rng(1).standard_normal((count, 3)).astype(np.float32)
    assert_close(net.forward_all(["x"], x=x), {**heads_of(net, x), "x": x})


def test_forward_backward_all_gives_data_and_diffs(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    x = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
    a, b = np.ones((7, 2)), np.ones((7, 5))
    data, diffs = net.forward_backward_all(["x"], ["b"], x=x, a=a, b=b)
    assert_close(data, {**heads_of(net, x), "x": x})
    positive = (data["a"] > 0) * a
    expected = positive @ net.params["a"][0].data + b @ net.params["b"][0].data
    assert_close(diffs, {"x": expected, "b": b})
    only_forward, _ = net.forward_backward_all(x=x)
    assert_close(only_forward, heads_of(net, x))


def test_what_is_there_runs_once_without_arrays(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    net.blobs["x"].data[...] = X
    data, diffs = net.forward_backward_all()
    assert_close(data, heads_of(net, X))
    assert diffs["x"].shape == X.shape
    assert_close(net.forward_all(), heads_of(net, X))


def test_arrays_for_many_batches_must_agree(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    with pytest.raises(ShapeError, match="expected the same number of samples"):
        net.forward_backward_all(x=np.ones((7, 3)), a=np.ones((6, 2)), b=np.ones((7, 5)))
    with pytest.raises(ShapeError, match="1 or more"):
        net.forward_all(x=np.ones((0, 3)))
    with pytest.raises(NetError, match="expected names of blobs, got 'y'"):
        net.forward_backward_all(y=np.ones((4, 3)))
    train = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    with pytest.raises(ShapeError, match="blob 'loss': expected samples on a first axis"):
        train.forward_all()


# ---- arguments


def test_inputs_must_fit(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    with pytest.raises(NetError, match=r"a data array for each of its inputs \(x\).*got y"):
        net.forward(y=X)
    with pytest.raises(NetError, match=r"a diff array for each of its outputs \(a, b\).*got a"):
        net.backward(a=X)
    for wrong in (X[:3], np.ones((4, 2)), 1.0):
        with pytest.raises(ShapeError, match=r"'x': expected shape \(4, 3\), got .*reshape"):
            net.forward(x=wrong)


def test_names_must_be_there(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    with pytest.raises(NetError, match=r"name of a layer, got 'relo'\. Did you mean 'relu'"):
        net.forward(start="relo")
    with pytest.raises(NetError, match="expected names of blobs, got 'c'"):
        net.forward(["c"])
    with pytest.raises(NetError, match=r"'b' before 'a'\. Exchange start and end"):
        net.forward(start="b", end="a")
    with pytest.raises(TypeError, match=r"Write \['a'\]"):
        net.forward("a")
    for run in (net.forward, net.backward, net.forward_all, net.forward_backward_all):
        for arrays in (X, [X]):
            with pytest.raises(TypeError, match=r"Name arrays: forward\(data=array\)"):
                run(arrays)  # type: ignore[operator]


def test_names_of_another_kind_are_refused(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    with pytest.raises(NetError, match="expected the name of a layer, got '2'"):
        net.forward(end=2)  # type: ignore[arg-type]
    with pytest.raises(NetError, match="expected indices of the net's 5 layers, got 0 to 9"):
        net._backward(9, 0)


@pytest.mark.parametrize(
    "given", ["abc", [[0.0, 1.0], [2.0]] * 2, [["a", "b", "c"]] * 4, [{}] * 4], ids=repr
)
def test_what_is_not_made_of_numbers_is_refused(given: object, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    with pytest.raises(TypeError, match=r"data for blob 'x': expected an array of numbers, got"):
        net.forward(x=given)


@pytest.mark.parametrize("dtype", ["?", "u1", ">f4", "f2", "i8"])
def test_numbers_of_any_kind_and_order_are_taken(dtype: str, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    x = np.asfortranarray((X > 0).astype(dtype))[::-1]
    assert_close(net.forward(x=x), heads_of(net, x.astype(np.float32)))
    assert_close(net.forward(x=x.tolist()), heads_of(net, x.astype(np.float32)))


# ---- hooks


def test_hooks_are_called_around_each_layer(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS, ops=ops)
    plain = {name: array.copy() for name, array in net.forward(x=X).items()}
    calls: list[tuple[str, int]] = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, name)(lambda index, name=name: calls.append((name, index)))
    assert_close(net.forward(x=X), plain)
    assert calls == [
        (name, index) for index in range(5) for name in ("before_forward", "after_forward")
    ]
    calls.clear()
    net.backward()
    assert calls == [
        (name, index)
        for index in reversed(range(5))
        for name in ("before_backward", "after_backward")
    ]
    calls.clear()
    net.forward(start="a", end="relu")
    assert [index for _, index in calls] == [2, 2, 3, 3]


def test_a_hook_sees_and_changes_the_net(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS, ops=ops)
    net.forward(x=X)

    def double(index: int) -> None:
        if net._layer_names[index] == "b":
            net.blobs["b"].data[...] *= 2

    net.after_forward(double)
    expected = heads_of(net, X)
    assert_close(net.forward(x=X), {"a": expected["a"], "b": 2 * expected["b"]})


def test_what_a_hook_raises_ends_the_pass(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    net.before_forward(lambda index: [].pop())
    with pytest.raises(IndexError):
        net.forward()
