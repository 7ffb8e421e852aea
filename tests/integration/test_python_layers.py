"""Python layers through the commands: training from elsewhere, resuming, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffepy
from caffepy.proto import weights
from tests.integration.refusals import Run, assert_refused
from tests.python_layers import python_layer, write_modules

pytestmark = pytest.mark.usefixtures("modules_as_before")

NET = """
layer { name: "in" type: "DummyData" top: "data" top: "target" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
  data_filler { type: "gaussian" } data_filler { type: "uniform" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
LOSS = python_layer(
    "EuclideanLossLayer",
    'bottom: "ip" bottom: "target" top: "loss" loss_weight: 1',
    module="pyloss",
)
OWN_LOSS = 'layer { name: "l" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }'
SOLVER = """net: "{net}.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 max_iter: 12
display: 4 snapshot: 5 snapshot_prefix: "{net}" random_seed: 3 {rest}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a net, its solver and its modules lie; commands run elsewhere."""
    made = tmp_path / "there"
    made.mkdir()
    write_modules(made)
    return made


def write_job(folder: Path, net: str, name: str = "net", rest: str = "") -> str:
    """Writes a net and its solver. Returns the solver's path."""
    (folder / f"{name}.prototxt").write_text(net)
    solver = folder / f"{name}_solver.prototxt"
    solver.write_text(SOLVER.format(net=name, rest=rest))
    return str(solver)


def trained(path: str) -> list[np.ndarray]:
    return [blob.data for layer in weights.read(Path(path)) for blob in layer.blobs]


def test_a_net_with_a_python_loss_trains_from_another_folder(run: Run, folder: Path) -> None:
    solvers = {
        name: write_job(folder, NET + loss, name)
        for name, loss in (("py", LOSS), ("own", OWN_LOSS))
    }
    for solver in solvers.values():
        status, message = run("train", "--solver", solver)
        assert status == 0, message
    for found, expected in zip(
        trained("py_iter_12.caffemodel"), trained("own_iter_12.caffemodel"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    net = str(folder / "py.prototxt")
    assert (
        run("test", "--model", net, "--weights", "py_iter_12.caffemodel", "--iterations=2")[0] == 0
    )
    assert run("time", "--model", net, "--iterations=1")[0] == 0


def test_a_real_process_trains_with_a_foreign_caffe_on_its_path(folder: Path) -> None:
    """As on a machine where pycaffe is installed, by the command itself."""
    other = folder / "python"
    (other / "caffe").mkdir(parents=True)
    (other / "caffe" / "__init__.py").write_text("raise ImportError('libcaffe.so')\n")
    solver = write_job(folder, NET + LOSS)
    checkout = str(Path(caffepy.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "caffepy", "train", "--solver", solver, "--engine", "numpy"],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(other), checkout])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Optimization Done." in done.stderr
    assert done.stderr.count("exact resume does not cover") == 1


def test_a_layer_that_remembers_resumes_exactly(run: Run, folder: Path) -> None:
    module = """
        import caffe, numpy as np
        class Noise(caffe.Layer):
            def setup(self, bottom, top): self.random = np.random.RandomState(1)
            def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
            def forward(self, bottom, top):
                top[0].data[...] = bottom[0].data + self.random.randn(*bottom[0].shape)
            def backward(self, top, propagate_down, bottom):
                bottom[0].diff[...] = top[0].diff
            def state(self): return {'random': list(self.random.get_state())}
            def restore(self, state): self.random.set_state(tuple(state['random']))
        """
    write_modules(folder, noise=module)
    noise = python_layer("Noise", 'bottom: "ip" top: "noisy"', module="noise")
    solver = write_job(folder, NET + noise + LOSS.replace('"ip"', '"noisy"'))
    assert run("train", "--solver", solver)[0] == 0
    whole = trained("net_iter_12.caffemodel")
    Path("net_iter_12.caffemodel").unlink()
    assert run("train", "--solver", solver, "--snapshot", "net_iter_5.solverstate")[0] == 0
    for found, expected in zip(trained("net_iter_12.caffemodel"), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


# ---- refusals


@pytest.mark.parametrize("command", ["train", "test", "time"])
@pytest.mark.parametrize("spelling", ["--no-python-layers", "-no_python_layers"])
def test_python_layers_are_refused_where_asked(
    run: Run, folder: Path, command: str, spelling: str
) -> None:
    (folder / "pyloss.py").write_text("raise AssertionError('imported')\n")
    solver = write_job(folder, NET + LOSS)
    arguments = {
        "train": ["--solver", solver],
        "test": ["--model", str(folder / "net.prototxt"), "--weights", "any"],
        "time": ["--model", str(folder / "net.prototxt")],
    }[command]
    wanted = (
        "layer 'EuclideanLossLayer' (Python): --no-python-layers: it would import module 'pyloss' "
        f"(found at '{folder / 'pyloss.py'}') and run its class 'EuclideanLossLayer'."
    )
    assert_refused(run, wanted, command, *arguments, spelling)
    assert "pyloss" not in sys.modules


def test_nets_without_python_layers_do_not_mind(run: Run, folder: Path) -> None:
    solver = write_job(folder, NET + OWN_LOSS)
    assert run("train", "--solver", solver, "--no-python-layers")[0] == 0


def test_a_missing_module_is_refused(run: Run, folder: Path) -> None:
    solver = write_job(folder, NET + LOSS.replace("pyloss", "pylos"))
    wanted = (
        "net.prototxt:7: layer 'EuclideanLossLayer' (Python): python_param.module: expected a "
        "module 'pylos', got none: there is no 'pylos' in"
    )
    assert_refused(run, wanted, "train", "--solver", solver)
    assert_refused(run, "Did you mean 'pyloss'?", "train", "--solver", solver)


def test_a_missing_class_is_refused(run: Run, folder: Path) -> None:
    solver = write_job(folder, NET + LOSS.replace('layer: "Euc', 'layer: "Eu'))
    wanted = "got none; its layers: EuclideanLossLayer. Did you mean 'EuclideanLossLayer'?"
    assert_refused(run, wanted, "train", "--solver", solver)


def test_no_python_param_is_refused(run: Run, folder: Path) -> None:
    solver = write_job(folder, 'layer { name: "x" type: "Python" top: "y" }')
    assert_refused(run, "python_param.module: expected the name of", "train", "--solver", solver)


def test_an_exception_in_a_layer_ends_training_with_its_traceback(run: Run, folder: Path) -> None:
    module = """
        from pyloss import EuclideanLossLayer
        class Failing(EuclideanLossLayer):
            def backward(self, top, propagate_down, bottom):
                return self.halve(bottom[0].num)
            def halve(self, number):
                raise ValueError('batch of %d' % number)
        """
    write_modules(folder, failing=module)
    loss = python_layer(
        "Failing", 'bottom: "ip" bottom: "target" top: "loss" loss_weight: 1', "failing"
    )
    status, message = run("train", "--solver", write_job(folder, NET + loss))
    assert status == 1
    head, *trace = message.split("\n")
    assert head == (
        f"caffepy: {folder / 'net.prototxt'}:7: layer 'Failing' (Python): Failing.backward failed: "
        "ValueError: batch of 4. Correct it there."
    )
    assert [line.strip() for line in trace if "^" not in line] == [
        "Traceback (most recent call last):",
        f'File "{folder / "failing.py"}", line 5, in backward',
        "return self.halve(bottom[0].num)",
        f'File "{folder / "failing.py"}", line 7, in halve',
        "raise ValueError('batch of %d' % number)",
        "ValueError: batch of 4",
    ]


def test_a_layer_cannot_end_the_run_with_a_success(run: Run, folder: Path) -> None:
    module = """
        import sys
        from pyloss import EuclideanLossLayer
        class Leaving(EuclideanLossLayer):
            def forward(self, bottom, top): sys.exit()
        """
    write_modules(folder, leaving=module)
    loss = python_layer(
        "Leaving", 'bottom: "ip" bottom: "target" top: "loss" loss_weight: 1', "leaving"
    )
    status, message = run("train", "--solver", write_job(folder, NET + loss))
    assert status == 1
    assert "Leaving.forward failed: SystemExit. A layer cannot end the run" in message


def test_ctrl_c_in_a_layer_interrupts(run: Run, folder: Path) -> None:
    module = """
        from pyloss import EuclideanLossLayer
        class Stopped(EuclideanLossLayer):
            def forward(self, bottom, top): raise KeyboardInterrupt
        """
    write_modules(folder, stopped=module)
    loss = python_layer(
        "Stopped", 'bottom: "ip" bottom: "target" top: "loss" loss_weight: 1', "stopped"
    )
    status, message = run("train", "--solver", write_job(folder, NET + loss))
    assert status == 130
    assert message.endswith("Interrupted.")
