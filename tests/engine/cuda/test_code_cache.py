"""Compiled kernels on disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from caffepy.engine.ops.cuda import code_cache, nvrtc
from caffepy.engine.ops.cuda.code_cache import machine_code_file

SOURCE = 'extern "C" __global__ void clear(size_t count, T* x) { x[0] = 0; }'
needs_nvrtc = pytest.mark.skipif(nvrtc.available() is not None, reason=str(nvrtc.available()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(code_cache.ENVIRONMENT_VARIABLE, str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@needs_nvrtc
def test_code_is_compiled_once_for_each_source_type_and_gpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine_code_file(SOURCE, "clear.cu", "float", 90)
    assert path.read_bytes().startswith(b"\x7fELF")
    others = [
        machine_code_file(SOURCE, "clear.cu", "double", 90),
        machine_code_file(SOURCE, "clear.cu", "float", 80),
        machine_code_file(SOURCE.replace("= 0", "= 1"), "clear.cu", "float", 90),
    ]
    assert set(folder.iterdir()) == {path, *others}
    assert len({path, *others}) == 4
    monkeypatch.delattr(nvrtc, "machine_code")
    assert machine_code_file(SOURCE, "clear.cu", "float", 90) == path


@needs_nvrtc
def test_for_a_gpu_that_nvrtc_does_not_know_there_is_ptx(folder: Path) -> None:
    code = machine_code_file(SOURCE, "clear.cu", "float", 999).read_bytes()
    assert b".visible .entry clear(" in code
    oldest = machine_code_file(SOURCE, "clear.cu", "float", 1).read_bytes()
    assert b".target sm_" in oldest


@needs_nvrtc
def test_where_nothing_can_be_kept_a_run_has_files_of_its_own(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("no folder")
    for element in ("float", "double"):
        assert machine_code_file(SOURCE, "clear.cu", element, 90).is_file()
    (warning,) = caplog.messages
    assert warning.startswith(f"{folder}: compiled kernels cannot be kept: ")
    code_cache._folder_of_this_run.cache_clear()


def test_files_are_kept_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(code_cache.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert code_cache.folder() == tmp_path / "caffepy" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert code_cache.folder() == tmp_path / ".cache" / "caffepy" / "kernels"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert code_cache.folder() == tmp_path / "caffepy" / "kernels"
