"""Programs as graphs: launched where nothing has moved, equal numbers, and what stops them."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from caffepy.engine.passes.capture import WARM_UP
from tests.nets import make_net

CHAIN = """
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 5 } } }
    layer { name: "a" type: "TanH" bottom: "x" top: "y" }
    layer { name: "b" type: "ReLU" bottom: "y" top: "y" }
    layer { name: "c" type: "Power" bottom: "y" top: "z" power_param { power: 2 scale: 3 } }
    force_backward: true
"""
X = np.random.default_rng(0).standard_normal((8, 3, 5)).astype(np.float32)


def nets(runtime: CudaRuntime, text: str = CHAIN) -> tuple[Net, Net]:
    """The net on the GPU engine, and on numpy."""
    return make_net(text, CudaOps(runtime, precision="fp32")), make_net(text)


def both(net: Net, reference: Net, number: int) -> None:
    """One pass forward and back in both nets, on other inputs each time; the results are equal."""
    for one in (net, reference):
        one.blobs["x"].data.write()[...] = X[number]
        one.forward()
        for name in one.outputs:
            one.blobs[name].diff.write()[...] = X[number] + 1
        one.backward()
    for name in net.blobs:
        for kind in ("data", "diff"):
            np.testing.assert_allclose(
                getattr(net.blobs[name], kind).read(),
                getattr(reference.blobs[name], kind).read(),
                1e-5,
                1e-6,
                err_msg=f"{name}.{kind} in pass {number}",
            )


def test_passes_become_graphs_that_give_the_numbers_of_the_steps(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    net, reference = nets(cuda_runtime)
    for number in range(6):
        both(net, reference, number)
    assert len(launches) == 2 * (6 - 1 - WARM_UP)
    assert len(set(map(id, launches))) == 2  # one forward, one back


def test_a_value_that_has_moved_leads_to_another_graph(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    net, reference = nets(cuda_runtime)
    for number in range(4):
        both(net, reference, number)
    layout = net.ops.layout  # type: ignore[attr-defined]
    for kind in ("data", "diff"):
        value = getattr(net.blobs["y"], kind)
        value.move_to(layout.zeros(value.count, value.dtype), layout)
    launches.clear()
    both(net, reference, 4)
    both(net, reference, 5)
    assert len(launches) == 4
    assert len(set(map(id, launches))) == 2


def test_python_that_holds_an_array_sees_what_graphs_write_and_writes_what_they_read(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    net, reference = nets(cuda_runtime)
    for number in range(3):
        both(net, reference, number)
    held = net.blobs["z"].data.lease()
    launches.clear()
    both(net, reference, 3)
    assert len(launches) == 2
    np.testing.assert_array_equal(held, net.blobs["z"].data.read())
    given = net.blobs["x"].data.lease()
    given[...] = X[5]
    net.forward()
    expected = np.maximum(np.tanh(X[5]), 0) * 3
    np.testing.assert_allclose(held, expected**2, 1e-5, 1e-6)


def test_a_net_that_is_reshaped_is_captured_anew(
    cuda_runtime: CudaRuntime, launches: list[Graph]
) -> None:
    net, _ = nets(cuda_runtime)
    for rows in (3, 3, 3, 4, 4, 4):
        net.blobs["x"].reshape((rows, 5))
        net.blobs["x"].data.write()[...] = X[0, :1]
        net.forward()
        assert net.blobs["z"].data.read().shape == (rows, 5)
        expected = np.maximum(np.tanh(X[0, :1]), 0) * 3
        np.testing.assert_allclose(net.blobs["z"].data.read()[:1], expected**2, 1e-5, 1e-6)
    assert len(launches) == 2


def test_values_from_outside_outlast_a_graph_that_is_the_last_to_read_them(
    cuda_runtime: CudaRuntime, launches: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 1)
    text = (
        CHAIN
        + """layer { name: "ip" type: "InnerProduct" bottom: "z" top: "ip"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }"""
    )
    net = make_net(text, CudaOps(cuda_runtime, precision="fp32"), keep=False)
    reference = make_net(text)
    for number in range(6):
        for one in (net, reference):
            one.blobs["x"].data.write()[...] = X[number]
            one.parameters.clear_diffs()
            one.forward()
            one.blobs["ip"].diff.write()[...] = number + 1
            one.backward()
        pairs = zip(net.parameters.learnable, reference.parameters.learnable, strict=True)
        for found, expected in pairs:
            np.testing.assert_allclose(found.blob.diff.read(), expected.blob.diff.read(), 1e-5)
    assert len(launches) == 2 * (6 - 1 - WARM_UP)
    assert len(set(map(id, launches))) == 2


def test_the_numpy_engine_makes_no_graphs() -> None:
    net = make_net(CHAIN, NumpyOps())
    net.forward()
    program = net._whole.programs["forward"]
    assert program is not None
    assert program.stretches is None
