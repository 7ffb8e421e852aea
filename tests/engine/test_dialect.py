"""A type with several meanings: told by the layer, else by the dialect, else asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import caffe
import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.dialect import Reading, meant
from caffepy.engine.core.errors import NetError, PrototxtError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, NetParameter, NetState
from caffepy.tools import cli
from caffepy.tools.common import open_net

READINGS = {
    "ssd": Reading("y = x", "power_param { }"),
    "happynear": Reading("y = |x|", "a second top"),
}


class Twofold(Layer):
    """What is meant is told by a block or by two tops."""

    type = "Twofold"
    usual = ""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        evident = "ssd" if self.param.HasField("power_param") else ""
        self.found = meant(self, READINGS, evident, self.usual)


class Usual(Twofold):
    usual = "ssd"


def found(layer: str, dialect: str = "", cls: type[Twofold] = Twofold) -> str:
    net = text.parse(
        f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 }} }} }}
        layer {{ name: "l" type: "Twofold" bottom: "x" top: "y" {layer} }}""",
        NetParameter,
    )
    registry = {**LAYERS, "Twofold": cls}
    made = Net(net, NetState(phase="TEST"), ops=NumpyOps(), registry=registry, dialect=dialect)
    twofold = made.layers[-1]
    assert isinstance(twofold, Twofold)
    return twofold.found


def test_what_the_layer_shows_wins_over_the_dialect() -> None:
    assert found("power_param { }") == "ssd"
    assert found("power_param { }", "happynear") == "ssd"
    assert found("", "happynear") == "happynear"


@pytest.mark.parametrize("dialect", ["", "nv"])
def test_where_nothing_says_which_all_are_named(dialect: str) -> None:
    with pytest.raises(NetError) as error:
        found("", dialect)
    assert str(error.value) == (
        "<text>:2: layer 'l' (Twofold): the type 'Twofold' has several meanings, and nothing says "
        "which: expected y = x, as in weiliu89/caffe, branch ssd (write power_param { }, or give "
        "--dialect ssd) or y = |x|, as in happynear/caffe-windows (write a second top, or give "
        "--dialect happynear). Write or give one of these."
    )


def test_the_usual_meaning_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert found("", cls=Usual) == "ssd"
    assert "Taken as in weiliu89/caffe, branch ssd, as is usual." in caplog.text
    caplog.clear()
    assert found("", "happynear", Usual) == "happynear"
    assert "several meanings" not in caplog.text


def test_a_dialect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PrototxtError, match="expected the name of a fork's, got 'sdd'"):
        found("power_param { }", "sdd")


def test_commands_and_pycaffe_hand_the_dialect_on(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { } } }')
    net = open_net(str(path), "TEST", 0, "", "", NumpyOps(), dialect="ssd")
    assert net.context.dialect == "ssd"
    shown = caffe.Net(str(path), TEST, dialect="ssd")
    assert np.shape(shown.blobs["x"].data) == ()
    with pytest.raises(PrototxtError, match="got 'sdd'"):
        caffe.Net(str(path), TEST, dialect="sdd")
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'net: "{path}" base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    assert caffe.SGDSolver(str(solver), dialect="ssd").iter == 0
    for made in (caffe.SGDSolver, caffe.get_solver):
        with pytest.raises(PrototxtError, match="got 'sdd'"):
            made(str(solver), dialect="sdd")
    for command in ("train", "test", "time", "extract_features"):
        result = CliRunner().invoke(cli.caffepy, [command, "--dialect", "sdd"])
        assert result.exit_code == 2
        assert "got 'sdd'" in result.output
