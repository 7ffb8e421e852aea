"""docs/forks.md: every fork layer has its row, and what stands in for one does the same."""

from __future__ import annotations

import re

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.fork_types import FORK_OF, INSTEAD
from caffepy.engine.known_types import unknown_type
from caffepy.engine.net import Net
from docs import forks
from tests.nets import make_net

OWN = {"ContrastiveAccuracy"}  # comes with caffepy, and with no fork that others have
TEXT = forks.FILE.read_text(encoding="utf-8")


def rows(marker: str) -> list[list[str]]:
    """The cells of a table."""
    part = TEXT.partition(f"<!-- {marker} -->\n")[2].partition("<!-- end -->")[0]
    return [line.strip("| ").split(" | ") for line in part.splitlines()[2:]]


def snippet(words: str, given: str) -> Net:
    """A net of Input layers and the example that begins with these words."""
    (found,) = (
        block
        for block in re.findall(r"```prototxt\n(.*?)```", TEXT, re.DOTALL)
        if block.startswith(f"# {words}")
    )
    return make_net(given + found)


def given(name: str, *sizes: int) -> str:
    dims = " ".join(f"dim: {size}" for size in sizes)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {dims} }} }} }}\n"
    )


def test_the_tables_are_current() -> None:
    assert forks.text() == TEXT, "run python -m docs.generate"


def test_every_layer_of_a_fork_has_its_row_and_a_remedy_where_it_is_not_ours() -> None:
    ours = {re.sub(r"\[(\w+)\].*", r"\1", row[0]) for row in rows("ours")}
    others = {row[0]: row[3] for row in rows("others")}
    assert ours | set(others) == set(FORK_OF)
    assert ours == set(FORK_OF) & set(LAYERS)
    assert set(INSTEAD) <= set(others)
    for name, remedy in others.items():
        if name in INSTEAD:
            told = unknown_type(name, LAYERS)
            assert remedy in told
            assert told.endswith("docs/forks.md says more.")


def test_every_registered_type_is_caffes_or_known_from_a_fork() -> None:
    for name in set(LAYERS) - OWN - set(FORK_OF):
        assert "is one of Caffe's" in unknown_type(name, ()), name


def test_an_indicator_of_continuation_from_constants() -> None:
    net = snippet("ContinuationIndicator", "")
    net.forward()
    np.testing.assert_array_equal(net.blobs["cont"].data.read(), [[0, 0], *[[1, 1]] * 3])


def test_an_l1_loss_from_other_layers() -> None:
    net = snippet("L1Loss", given("a", 2, 3) + given("b", 2, 3))
    a, b = np.arange(6.0).reshape(2, 3), np.full((2, 3), 2.5)
    net.blobs["a"].data.write()[...], net.blobs["b"].data.write()[...] = a, b
    net.forward()
    assert float(net.loss.read()) == pytest.approx(np.abs(a - b).sum() / 2)


def test_selu_from_other_layers() -> None:
    net = snippet("SELU", given("x", 2, 3))
    x = np.linspace(-3, 3, 6).reshape(2, 3)
    net.blobs["x"].data.write()[...] = x
    net.forward()
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    wanted = scale * np.where(x > 0, x, alpha * np.expm1(x))
    np.testing.assert_allclose(net.blobs["selu"].data.read(), wanted, rtol=1e-6)


def test_pooling_of_volumes_from_pooling_of_planes() -> None:
    net = snippet("PoolingND", given("v", 2, 3, 4, 6, 8))
    v = np.random.default_rng(0).standard_normal((2, 3, 4, 6, 8)).astype(np.float32)
    net.blobs["v"].data.write()[...] = v
    net.forward()
    wanted = v.reshape(2, 3, 2, 2, 3, 2, 4, 2).max((3, 5, 7))
    np.testing.assert_array_equal(net.blobs["volume"].data.read(), wanted)
