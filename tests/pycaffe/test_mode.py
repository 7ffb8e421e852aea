"""The functions of pycaffe that are about the process: mode, device, log, parallel training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.pycaffe.nets import TRAIN_NET, TWO_HEADS

ROOT = Path(__file__).resolve().parents[2]


def run_script(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code, or a file in the folder, that may `import caffe`."""
    return subprocess.run(
        [sys.executable, *([code] if code.endswith(".py") else ["-c", code])],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_gpu_is_missed_once(caplog: pytest.LogCaptureFixture) -> None:
    caffe.set_mode_cpu()
    caffe.set_device(0)
    assert not caplog.records
    for _ in range(2):
        caffe.set_mode_gpu()
    assert len(caplog.records) == 1
    assert "expected a GPU that can be used, got none: nets run on the CPU" in caplog.text
    with pytest.raises(TypeError):
        caffe.set_device("0")  # type: ignore[arg-type]


def trained(folder: Path) -> list[float]:
    """The weights of a solver's net after some updates."""
    (folder / "net.prototxt").write_text(TRAIN_NET)
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 random_seed: 3'
    )
    solver = caffe.get_solver(str(folder / "solver.prototxt"))
    solver.step(4)
    return [float(number) for number in solver.net.params["ip"][0].data.ravel()]


def test_a_script_trains_on_the_gpu_with_the_cpus_numbers(
    tmp_path: Path, one_gpu: CudaRuntime
) -> None:
    caffe.set_mode_cpu()
    expected = trained(tmp_path)
    caffe.set_device(0)
    caffe.set_mode_gpu("fp32")
    assert trained(tmp_path) == pytest.approx(expected, 1e-4, 1e-6)


def test_nets_on_the_gpu_share_parameters(tmp_path: Path, one_gpu: CudaRuntime) -> None:
    (tmp_path / "net.prototxt").write_text(TWO_HEADS)
    caffe.set_mode_gpu()
    nets = [caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST) for _ in range(2)]
    nets[1].share_with(nets[0])
    for weight in (1, 2):
        nets[0].params["a"][0].data[...] = weight
        for net in nets:
            net.blobs["x"].data[...] = 1
        first, second = (net.forward()["a"].copy() for net in nets)
        assert (first == 3 * weight).all()
        assert (second == first).all()


def test_a_gpu_that_is_not_there_is_refused_with_the_first_net(
    tmp_path: Path, one_gpu: CudaRuntime
) -> None:
    (tmp_path / "net.prototxt").write_text(TWO_HEADS)
    caffe.set_mode_gpu()
    caffe.set_device(1)
    with pytest.raises(
        DeviceError, match=r"set_device\(1\): expected GPU 0, the only one, got '1'"
    ):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)


def test_a_precision_is_one_of_the_command_lines() -> None:
    with pytest.raises(DeviceError, match=r"precision: expected one of fp32, .* got 'int8'"):
        caffe.set_mode_gpu("int8")


def test_layer_types_are_listed() -> None:
    types = list(caffe.layer_type_list())
    assert {"Convolution", "Python", "Input"} <= set(types)


def test_a_timer_measures_milliseconds() -> None:
    timer = caffe.Timer()
    assert timer.ms == 0
    timer.start()
    assert timer.ms > 0
    stopped = timer.ms
    timer.stop()
    assert timer.ms == stopped


def test_one_process_trains() -> None:
    assert (caffe.solver_count(), caffe.solver_rank(), caffe.has_nccl()) == (1, 0, False)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(False)
    assert isinstance(caffe.NCCL.new_uid(), bytes)
    with pytest.raises(DeviceError, match="expected one process, got several"):
        caffe.set_solver_count(2)
    with pytest.raises(DeviceError, match="expected one process, got several"):
        caffe.set_solver_rank(1)


def test_the_version_is_that_of_the_interface() -> None:
    assert caffe.__version__ == "1.0.0"


@pytest.mark.parametrize(
    ("before", "environment", "info", "warning"),
    [
        ("", {}, True, True),
        ("", {"GLOG_minloglevel": "1"}, False, True),
        ("", {"GLOG_minloglevel": "2"}, False, False),
        ("caffe.init_log()", {"GLOG_minloglevel": "2"}, True, True),
        ("caffe.init_log(1)", {}, False, True),
        ("caffe.init_log(0, False)", {}, False, False),
        ("import logging; logging.basicConfig(level=logging.WARNING)", {}, False, True),
    ],
)
def test_the_log_goes_to_stderr_as_pycaffes_does(
    before: str, environment: dict[str, str], info: bool, warning: bool, tmp_path: Path
) -> None:
    (tmp_path / "net.prototxt").write_text(TWO_HEADS)
    code = f"import caffe\n{before}\ncaffe.Net('net.prototxt', caffe.TEST)\ncaffe.set_mode_gpu()\n"
    done = run_script(tmp_path, code + "caffe.log('of my own')", **environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert ("Creating Layer relu" in done.stderr) == info
    assert ("of my own" in done.stderr) == info
    assert ("expected a GPU that can be used" in done.stderr) == warning


def test_a_warning_before_any_net_is_a_line_of_the_log(tmp_path: Path) -> None:
    done = run_script(tmp_path, "import caffe\ncaffe.set_mode_gpu()")
    assert re.match(r"W\d{4} \S+ +\d+ \S+:\d+] set_mode_gpu: ", done.stderr)


def test_a_layer_may_stand_in_the_script_itself(tmp_path: Path) -> None:
    net = (
        "force_backward: true "
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 } } } '
        'layer { name: "t" type: "Python" bottom: "x" top: "t" '
        'python_param { module: "__main__" layer: "Times" } }'
    )
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "script.py").write_text(
        "import caffe\n\n\nclass Times(caffe.Layer):\n"
        "    def setup(self, bottom, top): self.factor = 10\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = self.factor * bottom[0].data\n"
        "    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = self.factor\n"
        "\n\nif __name__ == '__main__':\n"
        "    net = caffe.Net('net.prototxt', caffe.TEST)\n"
        "    net.layers[list(net._layer_names).index('t')].factor = 3\n"
        "    net.blobs['x'].data[...] = 1, 2\n"
        "    print(*net.forward()['t'], *net.backward()['x'])\n"
    )
    done = run_script(tmp_path, "script.py", GLOG_minloglevel="2")
    assert (done.stdout.split(), done.stderr) == (["3.0", "6.0", "3.0", "3.0"], "")


def test_caffe_is_caffepys_interface(tmp_path: Path) -> None:
    code = (
        "import caffe, caffepy.pycaffe as ours\n"
        "assert caffe.Net is ours.Net and caffe.Layer is ours.Layer\n"
        "assert set(ours.__all__) <= set(dir(caffe)) and caffe.__version__ == '1.0.0'\n"
    )
    done = run_script(tmp_path, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
