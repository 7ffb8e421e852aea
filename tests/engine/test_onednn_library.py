"""Finding, loading and refusing oneDNN, and the choice of an engine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.onednn import library as module
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.binding import Algorithm, Descriptor, Pass, describe
from caffepy.engine.ops.onednn.library import OPENMP, Library, _Version, available, check_version
from caffepy.engine.ops.select import make_ops

needs_library = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if nothing had been loaded yet."""
    monkeypatch.setattr(module, "_loaded", None)
    return monkeypatch


def run_python(script: str) -> str:
    """Runs a script in a new process with warnings as errors; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=True, capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stdout.strip()


def test_an_older_major_version_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match=r"libdnnl.so.2: expected version 3.x, got 2.7.1"):
        check_version("libdnnl.so.2", _Version(2, 7, 1, b"", OPENMP, 0))


def test_a_library_before_versions_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"libmkldnn.so: expected version 3.x, got an older one"):
        check_version("libmkldnn.so", None)


def test_a_sycl_build_is_refused() -> None:
    with pytest.raises(DeviceError, match="expected a build for OpenMP, TBB or one thread, got"):
        check_version("libdnnl.so", _Version(3, 7, 0, b"", 512, 0))


def test_a_file_named_in_the_environment_is_the_only_one_tried(
    unloaded: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unloaded.setenv("CAFFEPY_DNNL", str(tmp_path / "none.so"))
    reason = available()
    assert reason is not None
    assert f"{tmp_path}/none.so: expected a loadable library" in reason


def test_without_any_library_the_reason_says_what_was_tried(unloaded: pytest.MonkeyPatch) -> None:
    unloaded.delenv("CAFFEPY_DNNL", raising=False)
    unloaded.setattr(module, "WHEELS", ("no-such-wheel",))
    unloaded.setattr(module, "FILE_NAMES", ("libnone.so.3",))
    with pytest.raises(DeviceError, match=r"got none. Install no-such-wheel.*Tried:.*libnone.so.3"):
        module.library()


def test_auto_takes_numpy_without_the_library_and_says_why(
    unloaded: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unloaded.setenv("CAFFEPY_DNNL", "none.so")
    with caplog.at_level(logging.INFO, "caffepy"):
        assert make_ops("auto").name == "numpy"
    assert "Engine: numpy" in caplog.text
    assert "none.so: expected a loadable library" in caplog.text


def test_auto_takes_numpy_for_float64(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "caffepy"):
        assert make_ops("auto", dtype=np.float64).dtype == np.float64
    assert "oneDNN computes in float32" in caplog.text


@needs_library
def test_auto_takes_onednn_where_it_is_installed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "caffepy"):
        assert make_ops("auto").name == "onednn"
    assert "Engine: oneDNN 3." in caplog.text


def test_unknown_engines_and_thread_counts_are_refused() -> None:
    with pytest.raises(DeviceError, match="expected one of auto, numpy, onednn, got 'cuda'"):
        make_ops("cuda")
    with pytest.raises(DeviceError, match="threads: expected at least 1, got 0"):
        make_ops("numpy", threads=0)


@needs_library
def test_float64_is_refused() -> None:
    with pytest.raises(DeviceError, match="expected dtype float32, got float64"):
        OneDnnOps(np.float64)


@needs_library
def test_a_primitive_that_does_not_exist_is_named_with_its_shapes() -> None:
    x = Descriptor.plain((2, 3))
    y = Descriptor.plain((2, 4))
    with pytest.raises(DeviceError, match=r"eltwise_forward of \(2, 3\), \(2, 4\).*invalid arg"):
        describe("eltwise_forward", Pass.FORWARD_TRAINING, Algorithm.RELU, x, y, 0.0, 0.0)


@needs_library
def test_numpy_multiplies_on_one_thread_while_the_backend_lives() -> None:
    printed = run_python(
        "import numpy, threadpoolctl\n"
        "from caffepy.engine.ops.onednn.backend import OneDnnOps\n"
        "def threads():\n"
        "    return [each['num_threads'] for each in threadpoolctl.threadpool_info()\n"
        "            if each['user_api'] == 'blas']\n"
        "before = threads()\n"
        "first, second = OneDnnOps(), OneDnnOps()\n"
        "del first\n"
        "print(set(threads()) <= {1})\n"
        "del second\n"
        "print(threads() == before)\n"
    )
    assert printed.split() == ["True", "True"]


@needs_library
def test_the_number_of_threads_can_be_set() -> None:
    if module.library().cpu_runtime != OPENMP:
        with pytest.raises(DeviceError, match="expected a build that runs on OpenMP"):
            OneDnnOps(threads=1)
        return
    printed = run_python(
        "import ctypes\n"
        "from caffepy.engine.ops.onednn.backend import OneDnnOps\n"
        "ops = OneDnnOps(threads=1)\n"
        "print(ctypes.CDLL(ops.library.path).omp_get_max_threads())\n"
    )
    assert printed == "1"


@needs_library
def test_importing_the_backend_loads_no_library() -> None:
    printed = run_python(
        "import caffepy.engine.ops.onednn.backend\n"
        "print('dnnl' in open('/proc/self/maps').read())\n"
    )
    assert printed == "False"


@needs_library
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_gets_an_error_instead_of_hanging() -> None:
    printed = run_python(
        "import os, warnings\n"
        "warnings.simplefilter('ignore')  # newer Pythons warn about forking with threads\n"
        "import numpy as np\n"
        "from caffepy.engine.core.errors import DeviceError\n"
        "from caffepy.engine.core.value import Value\n"
        "from caffepy.engine.ops.onednn.backend import OneDnnOps\n"
        "relu, x = OneDnnOps().relu(), Value((1000, 1000))\n"
        "relu.forward(x, out=x)\n"
        "if os.fork() == 0:\n"
        "    for use in (lambda: relu.forward(x, out=x), OneDnnOps):\n"
        "        try:\n"
        "            use()\n"
        "        except DeviceError as error:\n"
        "            print(str(error)[:40], flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    assert printed.splitlines() == ["oneDNN: expected to run in the process t"] * 2


def test_library_says_which_file_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(DeviceError, match=r"text.so: expected a loadable library, got: "):
        Library(str(tmp_path / "text.so"))
