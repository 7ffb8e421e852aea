"""Compiled kernels on disk: what was compiled once is there at once in later runs."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from caffepy.engine.core import log
from caffepy.engine.ops.cuda import nvrtc
from caffepy.engine.ops.kernels import instantiated

ENVIRONMENT_VARIABLE = "CAFFEPY_KERNEL_CACHE"


def machine_code_file(source: str, name: str, element: str, capability: int) -> Path:
    """The file with the code of CUDA source, compiled if it is not there; see
    `nvrtc.machine_code`. A changed source, option or compiler makes another file.

    Raises: DeviceError where the source cannot be compiled.
    """
    parts = (nvrtc.version(), nvrtc.OPTIONS, capability, instantiated(source, name, element))
    file_name = f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.cubin"
    path = folder() / file_name
    if path.is_file():
        return path
    code = nvrtc.machine_code(source, name, capability=capability, element=element)
    try:
        _write(path, code)
    except OSError as error:
        path = _folder_of_this_run(folder(), str(error.strerror)) / file_name
        _write(path, code)
    return path


def folder() -> Path:
    """Where the files are kept: what the environment variable names, or the user's cache."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    by_system = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    caches = os.environ.get(by_system) or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(caches, "caffepy", "kernels")


def _write(path: Path, code: bytes) -> None:
    """All of the file or none: other processes may look for it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


@functools.cache
def _folder_of_this_run(wanted: Path, reason: str) -> Path:
    """A folder that goes when the process ends, for where there is none to keep."""
    log.warning(
        f"{wanted}: compiled kernels cannot be kept: {reason}. They are compiled in each "
        f"run; name another folder in {ENVIRONMENT_VARIABLE}."
    )
    made = tempfile.mkdtemp(prefix="caffepy-kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
