"""What is asked of a oneDNN library before it is used, and what becomes of its objects."""

from __future__ import annotations

import gc
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.onednn import self_test
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, aligned, describe
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.library import Library, available
from caffepy.engine.ops.select import make_ops

needs_library = pytest.mark.skipif(available() is not None, reason=str(available()))
STATM = Path("/proc/self/statm")
MOST_GROWTH = 1 << 18  # bytes; of any kind that was not freed there would be 400 KB or more


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if the library had not been tested yet."""
    monkeypatch.setattr(self_test, "_result", None)
    return monkeypatch


def confuse(patch: pytest.MonkeyPatch, one: Algorithm, other: Algorithm) -> None:
    """As if the library had another number for an algorithm."""
    original: Callable[..., Any] = describe

    def confused(kind: str, *arguments: Any, **options: Any) -> Any:
        swapped = (other if argument is one else argument for argument in arguments)
        return original(kind, *swapped, **options)

    patch.setattr(self_test, "describe", confused)


@needs_library
def test_the_library_passes_its_test(untested: pytest.MonkeyPatch) -> None:
    assert self_test.usable() is None


@needs_library
def test_every_algorithm_is_tested() -> None:
    tested = " ".join(name for name, *_ in self_test._cases())
    rest = {algorithm.name for algorithm in Algorithm if algorithm.name not in tested}
    assert rest == {"CONVOLUTION_DIRECT"}  # named by what it computes


@needs_library
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Algorithm.BINARY_ADD, Algorithm.BINARY_SUBTRACT),
        (Algorithm.TANH, Algorithm.LOGISTIC),
        (Algorithm.POOLING_AVERAGE_WITH_PADDING, Algorithm.POOLING_AVERAGE_WITHOUT_PADDING),
        (Algorithm.LRN_WITHIN_CHANNEL, Algorithm.LRN_ACROSS_CHANNELS),
    ],
)
def test_a_library_with_other_numbers_is_refused(
    untested: pytest.MonkeyPatch, one: Algorithm, other: Algorithm
) -> None:
    confuse(untested, one, other)
    reason = self_test.usable()
    assert reason is not None
    assert f"expected its self-test's {one.name} to give" in reason
    assert "Install onednn-cpu-gomp" in reason


@needs_library
def test_a_library_that_lacks_a_primitive_is_refused(untested: pytest.MonkeyPatch) -> None:
    confuse(untested, Algorithm.ELU, Algorithm.BINARY_ADD)
    reason = self_test.usable()
    assert reason is not None
    assert "expected its self-test to run, got 'oneDNN: eltwise_forward of (4,), (4,)" in reason


@needs_library
def test_auto_takes_numpy_where_the_test_fails_and_says_why(
    untested: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    confuse(untested, Algorithm.BINARY_ADD, Algorithm.BINARY_SUBTRACT)
    with caplog.at_level(logging.INFO, "caffepy"):
        assert make_ops("auto").name == "numpy"
    assert "expected its self-test's BINARY_ADD to give" in caplog.text
    with pytest.raises(DeviceError, match="expected its self-test's BINARY_ADD to give"):
        OneDnnOps()


@pytest.mark.parametrize(
    ("major", "expected"),
    [
        (2, r"fake.so: expected version 3.x, got 2.6.3. Install onednn-cpu-gomp"),
        (3, r"fake.so: expected the function dnnl_\w+, got none of this name. Install"),
    ],
)
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_file_that_only_looks_like_the_library_is_refused(
    tmp_path: Path, major: int, expected: str
) -> None:
    (tmp_path / "fake.c").write_text(
        "static const struct { int major, minor, patch; const char *hash; unsigned cpu, gpu; }\n"
        f'version = {{{major}, 6, 3, "", 2, 0}};\n'
        "const void *dnnl_version(void) { return &version; }\n"
    )
    path = tmp_path / "fake.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, tmp_path / "fake.c"], check=True)
    with pytest.raises(DeviceError, match=expected):
        Library(str(path))


@needs_library
@pytest.mark.skipif(not STATM.exists(), reason="this system does not tell a process's memory")
def test_objects_that_were_dropped_are_freed() -> None:
    scratchpad, x = Scratchpad(), aligned(64)

    def make_and_drop(times: int) -> None:
        for count in range(times):
            flat = Descriptor.plain((16,))
            run = Execution(
                describe("binary", Algorithm.BINARY_ADD, flat, flat, flat),
                scratchpad, Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET,
            )  # fmt: skip
            if count % 10 == 0:
                run(x, x, x)
            with pytest.raises(DeviceError):
                describe(
                    "eltwise_forward", Pass.FORWARD_TRAINING, Algorithm.RELU,
                    flat, Descriptor.any((3,)), 0.0, 0.0,
                )  # fmt: skip

    make_and_drop(200)
    gc.collect()
    before = _resident()
    make_and_drop(1000)
    gc.collect()
    assert _resident() - before < MOST_GROWTH


def _resident() -> int:
    """Bytes."""
    return int(STATM.read_text().split()[1]) * 4096


@needs_library
def test_an_error_names_the_primitive_its_shapes_and_the_status() -> None:
    flat = Descriptor.plain((4,))
    primitive = describe("binary", Algorithm.BINARY_ADD, flat, flat, flat)
    run = Execution(primitive, Scratchpad(), Arg.SOURCE)  # too few
    with pytest.raises(
        DeviceError,
        match=r"running binary of \(4,\), \(4,\), \(4,\): expected success, got status 2 "
        r"\(invalid arguments\)",
    ):
        run(np.zeros(4, np.float32))
