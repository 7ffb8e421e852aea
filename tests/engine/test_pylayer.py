"""The user's class behind a Python layer: what it remembers, and what is told where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffepy
from caffepy.engine.core.errors import NetError
from tests.python_layers import build, python_layer, write_modules

pytestmark = pytest.mark.usefixtures("modules_as_before")

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
IP = """
layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}"
  inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the modules of tests/python_layers.py."""
    write_modules(tmp_path)
    return tmp_path


# ---- resuming


def test_state_and_restore_are_the_layers(folder: Path) -> None:
    definition = python_layer("Counting", 'top: "y"')
    net = build(folder, definition)
    for _ in range(4):
        net.forward()
    state = net.layers[0].state()
    net.forward()  # the state stays what it was
    other = build(folder, definition)
    other.layers[0].restore(state)
    other.forward()
    assert other.blobs["y"].data.read() == 15


def test_what_exact_resume_does_not_cover_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "caffepy")
    layer = build(folder, python_layer("Phase", 'top: "y"')).layers[0]
    assert layer.state() == {}
    assert layer.state() == {}
    told = [line for line in caplog.messages if "exact resume does not cover" in line]
    assert len(told) == 1
    assert "Layer Phase: class 'Phase' has no state()" in told[0]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("{'x': object()}", "a object"),
        ("{1: 2}", "the key 1"),
        ("[1]", "a list"),
        ("{'x': [{'y': {1, 2}}]}", "a set"),
        ("{'x': np.array([None])}", "an array of object"),
    ],
)
def test_state_that_no_snapshot_can_hold_is_refused(
    folder: Path, state: str, expected: str
) -> None:
    module = f"""
        import numpy as np
        from kinds import Counting
        class Odd(Counting):
            def state(self): return {state}
        """
    write_modules(folder, odd=module)
    layer = build(folder, python_layer("Odd", 'top: "y"', module="odd")).layers[0]
    with pytest.raises(NetError, match=f"class 'Odd': state: expected a dict .*, got {expected}."):
        layer.state()


# ---- failures


def test_warnings_of_numpy_are_as_the_module_sets_them(folder: Path) -> None:
    module = """
        import caffe, numpy as np
        class Strict(caffe.Layer):
            def setup(self, bottom, top): np.seterr(divide='raise')
            def reshape(self, bottom, top): top[0].reshape(1)
            def forward(self, bottom, top): top[0].data[0] = 1 / bottom[0].data[0, 0]
        """
    write_modules(folder, strict=module)
    before = np.geterr()
    try:
        net = build(folder, INPUT + python_layer("Strict", 'bottom: "x" top: "y"', "strict"))
        net.blobs["x"].data.write()[...] = 1
        net.forward()
        net.blobs["x"].data.write()[...] = 0
        with pytest.raises(NetError, match="FloatingPointError: divide by zero"):
            net.forward()
    finally:
        np.seterr(**before)


@pytest.mark.parametrize("method", ["setup", "reshape", "forward", "backward"])
def test_an_exception_shows_the_layer_and_the_users_lines(folder: Path, method: str) -> None:
    block = python_layer("Failing", 'top: "y" loss_weight: 1', param_str=method)
    with pytest.raises(NetError) as raised:  # noqa: PT012 - any of them may be the one
        net = build(folder, "force_backward: true\n" + block)
        net.forward()
        net.backward()
    head, *trace = str(raised.value).split("\n")
    assert head == (
        f"{folder / 'net.prototxt'}:2: layer 'Failing' (Python): Failing.{method} failed: "
        f"RuntimeError: it happened in {method}. Correct it there."
    )
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == f"RuntimeError: it happened in {method}"
    files = [line.split('"')[1] for line in trace if line.startswith("  File ")]
    assert files == [str(folder / "kinds.py")] * 2
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("top[0].data[...] = [1, 2, 3]", "could not broadcast input array from shape \\(3,\\)"),
        ("top[0].data = 3", "data is the net's memory and cannot be replaced. Write data\\[...\\]"),
        ("top[0].reshape(1, -2)", "expected sizes from 0 up .* got shape \\(1, -2\\)"),
        ("top[0].reshape(3 / 2)", "expected whole numbers, one per axis, got 1.5"),
        ("raise SystemExit(3)", "SystemExit: 3. A layer cannot end the run"),
        ("eval('1 +')", "SyntaxError: invalid syntax"),
        ("self.nothing", "AttributeError: 'Odd' object has no attribute 'nothing'"),
        ("raise KeyError from ValueError('first')", "KeyError. Correct it there."),
    ],
)
def test_wrong_use_is_told_in_one_message(folder: Path, body: str, expected: str) -> None:
    module = f"""
        import caffe
        class Odd(caffe.Layer):
            def setup(self, bottom, top): pass
            def reshape(self, bottom, top): top[0].reshape(2)
            def forward(self, bottom, top):
                {body}
        """
    write_modules(folder, odd=module)
    net = build(folder, python_layer("Odd", 'top: "y"', module="odd"))
    with pytest.raises(NetError, match=expected) as raised:
        net.forward()
    assert f'File "{folder / "odd.py"}", line 7, in forward' in str(raised.value)
    assert f'File "{Path(caffepy.__file__).parents[1]}' not in str(raised.value)


def test_ctrl_c_in_a_layer_is_no_error_of_the_layer(folder: Path) -> None:
    module = """
        from kinds import Failing
        class Stopped(Failing):
            def forward(self, bottom, top): raise KeyboardInterrupt
        """
    write_modules(folder, stopped=module)
    net = build(folder, python_layer("Stopped", 'top: "y"', module="stopped"))
    with pytest.raises(KeyboardInterrupt):
        net.forward()


def test_a_method_with_other_arguments_is_told_how_it_is_called(folder: Path) -> None:
    module = """
        from kinds import TimesTen
        class Odd(TimesTen):
            def forward(self, bottom): pass
        """
    write_modules(folder, odd=module)
    net = build(folder, INPUT + python_layer("Odd", 'bottom: "x" top: "y"', module="odd"))
    with pytest.raises(NetError, match=r"It is called as forward\(bottom, top\)\.$"):
        net.forward()


def test_missing_methods_are_named_when_the_net_is_built(folder: Path) -> None:
    with pytest.raises(NetError, match=r"got no reshape and no forward. Define reshape\(b"):
        build(folder, python_layer("NoForward", 'top: "y"'))


def test_a_gradient_without_backward_is_refused(folder: Path) -> None:
    between = IP.format("first", "x") + python_layer("NoBackward", 'bottom: "first" top: "y"')
    build(folder, INPUT + between).forward_backward()  # nothing needs it
    loss = 'layer { name: "l" type: "EuclideanLoss" bottom: "last" bottom: "x" top: "l" }'
    with pytest.raises(NetError, match="class 'NoBackward': a gradient is needed, but it has no"):
        build(folder, INPUT + between + IP.format("last", "y") + loss).forward_backward()
