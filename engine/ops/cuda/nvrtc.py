"""Compiling CUDA source without the CUDA toolkit, through NVIDIA's NVRTC; no GPU is needed.

Not by cupy, which has numbers below 1.2e-38 taken for 0 (`-ftz=true`), as no CPU does.

Source: NVIDIA's NVRTC documentation.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from typing import Any

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.kernels import instantiated
from caffepy.engine.ops.libraries import candidates

ENVIRONMENT_VARIABLE = "CAFFEPY_NVRTC"
WHEELS = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")
FILE_NAMES = {
    "win32": ("nvrtc64_120_0.dll", "nvrtc64_130_0.dll"),
}.get(sys.platform, ("libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so"))
BLOCK = 256  # threads of a block on a GPU
OPTIONS = ("-std=c++17", f"-DBLOCK={BLOCK}")
LOG_LINES = 30  # of a compiler that a message shows
# `kernels.cu(3): error` from NVRTC, `kernels.cu:3:9: error` from g++
_ERROR_LINE = re.compile(r"[(:](\d+)(?:\)|:\d+): (?:catastrophic |fatal )?error")

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int
_Text = ctypes.c_char_p
_Texts = ctypes.POINTER(ctypes.c_char_p)
_Size = ctypes.POINTER(ctypes.c_size_t)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "nvrtcVersion": (ctypes.POINTER(_Int), ctypes.POINTER(_Int)),
    "nvrtcCreateProgram": (ctypes.POINTER(_Pointer), _Text, _Text, _Int, _Texts, _Texts),
    "nvrtcCompileProgram": (_Pointer, _Int, _Texts),
    "nvrtcGetPTXSize": (_Pointer, _Size),
    "nvrtcGetPTX": (_Pointer, _Text),
    "nvrtcGetCUBINSize": (_Pointer, _Size),
    "nvrtcGetCUBIN": (_Pointer, _Text),
    "nvrtcGetNumSupportedArchs": (ctypes.POINTER(_Int),),
    "nvrtcGetSupportedArchs": (ctypes.POINTER(_Int),),
    "nvrtcGetProgramLogSize": (_Pointer, _Size),
    "nvrtcGetProgramLog": (_Pointer, _Text),
    "nvrtcDestroyProgram": (ctypes.POINTER(_Pointer),),
}


def compile_ptx(
    source: str, name: str = "kernels.cu", *, arch: str = "sm_80", element: str = "float"
) -> bytes:
    """The PTX of CUDA source, which is compiled down to machine code to see that it can be.

    name: what the compiler calls the source.  arch: `sm_80`, `sm_90`, ...
    element: what T is in it.

    Raises: DeviceError with the compiler's messages and the lines that they are about; or where
    NVRTC is not installed.
    """
    return _compiled(source, name, arch, element, "nvrtcGetPTX").rstrip(b"\0")


def machine_code(
    source: str, name: str = "kernels.cu", *, capability: int, element: str = "float"
) -> bytes:
    """CUDA source as code for GPUs of one compute capability, say 90 for 9.0: machine code, or PTX
    for the GPU's driver to finish where this NVRTC does not know of such GPUs.

    name, element: as for `compile_ptx`.
    Raises: as `compile_ptx`.
    """
    known = _capabilities()
    if capability in known:
        return _compiled(source, name, f"sm_{capability}", element, "nvrtcGetCUBIN")
    older = max((one for one in known if one < capability), default=min(known))
    return _compiled(source, name, f"compute_{older}", element, "nvrtcGetPTX")


def version() -> tuple[int, int]:
    """Major and minor version. Raises: DeviceError where there is no NVRTC."""
    major, minor = _Int(), _Int()
    _call(_library(), "nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _capabilities() -> list[int]:
    """The compute capabilities that there is machine code for."""
    library, count = _library(), _Int()
    _call(library, "nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (_Int * count.value)()
    _call(library, "nvrtcGetSupportedArchs", found)
    return list(found)


def _compiled(source: str, name: str, arch: str, element: str, result: str) -> bytes:
    """What the function `result` gives of a compiled program."""
    library = _library()
    program = _Pointer()
    text = instantiated(source, name, element).encode()
    _call(library, "nvrtcCreateProgram", ctypes.byref(program), text, name.encode(), 0, None, None)
    try:
        given = [option.encode() for option in (f"--gpu-architecture={arch}", *OPTIONS)]
        options = (ctypes.c_char_p * len(given))(*given)
        if library.nvrtcCompileProgram(program, len(options), options):
            log = _bytes(library, "nvrtcGetProgramLog", program).decode(errors="replace")
            raise DeviceError(compile_failure(source, name, f"NVRTC for {arch}", log))
        return _bytes(library, result, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def available() -> str | None:
    """Why there is no NVRTC; None where there is."""
    try:
        _library()
    except DeviceError as error:
        return str(error)
    return None


def compile_failure(source: str, name: str, compiler: str, log: str) -> str:
    """The message for source that does not compile: what the compiler says, and the line that its
    first error is about."""
    log = log.strip("\0\n ")
    first = _ERROR_LINE.search(log)
    lines = source.split("\n")
    where, got = name, "errors"
    if first and 0 < int(first[1]) <= len(lines):
        where, got = f"{name}:{first[1]}", f"an error in '{lines[int(first[1]) - 1].strip()}'"
    said = log.split("\n")
    left_out = [f"({len(said) - LOG_LINES} lines more)"] if len(said) > LOG_LINES else []
    return "\n".join(
        (
            f"{where}: {compiler}: expected source that compiles, got {got}. Correct the kernel.",
            *said[:LOG_LINES],
            *left_out,
        )
    )


@functools.cache
def _library() -> Any:
    """The loaded NVRTC. Raises: DeviceError where there is none."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    tried = [named] if named else list(candidates(WHEELS, FILE_NAMES))
    for path in tried:
        try:
            library = ctypes.CDLL(path)
            for function, argument_types in _FUNCTIONS.items():
                getattr(library, function).argtypes = argument_types
        except (OSError, AttributeError):  # AttributeError: another library of that name
            continue
        return library
    raise DeviceError(
        f"NVRTC: expected an installed library, got none under {', '.join(tried)}. Install "
        f"{WHEELS[0]}, or name the file in {ENVIRONMENT_VARIABLE}."
    )


def _call(library: Any, function: str, *arguments: Any) -> None:
    status = getattr(library, function)(*arguments)
    if status:
        raise DeviceError(f"NVRTC: {function}: expected success, got status {status}. Report this.")


def _bytes(library: Any, function: str, program: _Pointer) -> bytes:
    size = ctypes.c_size_t()
    _call(library, f"{function}Size", program, ctypes.byref(size))
    found = ctypes.create_string_buffer(size.value)
    _call(library, function, program, found)
    return found.raw
