"""CUDA source compiled by g++ under a header with what CUDA has besides C++ (cuda_host/)."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.nvrtc import compile_failure
from caffepy.engine.ops.kernels import C_NAMES, COMMENT, Parameter, instantiated, signatures
from tests.host_memory import DeviceArray

COMPILER = "g++"
BLOCK = 64  # threads of a block that work together: two warps
HEADERS = Path(__file__).resolve().parent / "cuda_host"
# -nodefaultlibs: g++ would add a library for -fsanitize, whose part shim.h plays.
FLAGS = (
    *("-O1", "-g0", "-std=c++17", "-fno-math-errno", "-ffp-contract=off", "-fno-exceptions"),
    *("-fno-rtti", "-w", "-fvisibility=hidden", "-shared", "-fPIC", "-nodefaultlibs"),
    "-fsanitize=alignment,bounds,integer-divide-by-zero,shift-exponent,float-cast-overflow",
)
LIBRARIES = ("-lm", "-lc", "-lgcc")
_DTYPES: dict[str, np.dtype] = {name: dtype for dtype, name in C_NAMES.items()}
_TOGETHER = re.compile(r"\b(?:__shared__|__sync\w+|__\w+_sync|BLOCK)\b")
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
_CALLED = re.compile(r"(\w+)\s*\(")
_NAMED_TYPE = re.compile(r"\b(?:struct|class)\s+(\w+)")


def missing() -> str | None:
    """Why kernels cannot be compiled here; None where they can."""
    if sys.platform != "linux":
        return "needs Linux"  # for how the linker lays out shared memory
    return None if shutil.which(COMPILER) else f"needs the compiler {COMPILER}"


class Program:
    """The kernels of a source, loaded.

    together: the names of those whose threads work with others of their block, which run by BLOCK.
    """

    def __init__(self, path: Path, source: str, name: str, element: str) -> None:
        self.name = name
        self.together = working_together(source)
        self._signatures = signatures(source, name)
        self._dtype = _DTYPES[element]
        # PyDLL: one launch at a time, also from several threads
        self._functions = _functions(ctypes.PyDLL(str(path)), self._signatures, self._dtype)

    def run(self, kernel: str, blocks: int, threads: int, *arguments: Any) -> None:
        """Runs a kernel on a grid. arguments: DeviceArrays and numpy scalars, the count first.

        Raises: DeviceError where the kernel does what it may not.
        """
        parameters = self._signatures[kernel]
        self._check(kernel, parameters, arguments)
        sent = [one.address if isinstance(one, DeviceArray) else one.item() for one in arguments]
        failure = self._functions[kernel](blocks, threads, *sent)
        if failure is not None:
            self._refuse(kernel, failure.decode())
        for parameter, argument in zip(parameters, arguments, strict=True):
            if isinstance(argument, DeviceArray) and (where := argument.memory.overrun()):
                self._refuse(
                    kernel,
                    f"expected writes within the buffers, got one {where}, at that of parameter "
                    f"'{parameter.name}'",
                )

    def _check(
        self, kernel: str, parameters: Sequence[Parameter], arguments: Sequence[Any]
    ) -> None:
        """Asserts that the arguments have the types of the parameters, as nothing does on a GPU."""
        for parameter, argument in zip(parameters, arguments, strict=True):
            wanted = parameter.numpy_type(self._dtype)
            kind = DeviceArray if parameter.pointer else np.generic
            assert isinstance(argument, kind), f"{kernel}: {parameter}: {argument!r}"
            same = argument.dtype == wanted or {argument.dtype.char, wanted.char} == {"e", "H"}
            assert same, f"{kernel}: {parameter}: {argument.dtype}"

    def _refuse(self, kernel: str, problem: str) -> None:
        raise DeviceError(f"{self.name}: kernel '{kernel}': {problem}. Correct the kernel.")


def compiled(
    folder: Path, source: str, name: str, element: str, options: Sequence[str] = ()
) -> Program:
    """The program of a source, compiled where `folder` has none of the same content.

    options: more of the compiler's.  Raises: DeviceError with what the compiler says.
    """
    launchers = (_launcher(*one) for one in signatures(source, name).items())
    text = "\n".join(
        (
            '#include "shim.h"',
            "namespace {",  # so that all is of this file alone, also what templates make
            instantiated(source, name, element),
            "}",
            *launchers,
        )
    )
    command = (COMPILER, *FLAGS, f"-DBLOCK={BLOCK}", *options)
    content = "\0".join((text, _headers(), *command))
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()}.so"
    if not path.exists():
        _compile(command, text, path, source, name)
    return _loaded(path, source, name, element)


@functools.cache
def _loaded(path: Path, source: str, name: str, element: str) -> Program:
    return Program(path, source, name, element)


@functools.cache
def _headers() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(HEADERS.glob("*.h")))


def _compile(command: Sequence[str], text: str, path: Path, source: str, name: str) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        code, built = Path(folder, "code.cpp"), Path(folder, "code.so")
        code.write_text(text, encoding="utf-8")
        whole = [*command, f"-I{HEADERS}", str(code), "-o", str(built), *LIBRARIES]
        run = subprocess.run(whole, capture_output=True, text=True, check=False)
        if run.returncode:
            raise DeviceError(compile_failure(source, name, COMPILER, run.stderr))
        os.replace(built, path)


def _launcher(kernel: str, parameters: Sequence[Parameter]) -> str:
    """A C function that runs a kernel on a grid, and says what went wrong."""
    declared = ", ".join(
        f"{'const ' if one.const else ''}{one.type} {'*' if one.pointer else ''}{one.name}"
        for one in parameters
    )
    names = ", ".join(one.name for one in parameters)
    return (
        'extern "C" __attribute__((visibility("default"))) const char*\n'
        f"launch_{kernel}(unsigned blocks_, unsigned threads_, {declared}) {{\n"
        f"  auto run_ = [&] {{ {kernel}({names}); }};\n"
        "  return shim::run_grid(blocks_, threads_,\n"
        "                        [](void* one) { (*static_cast<decltype(run_)*>(one))(); },\n"
        "                        &run_);\n"
        "}\n"
    )


def _functions(
    library: ctypes.PyDLL, kernels: Mapping[str, Sequence[Parameter]], element: np.dtype
) -> dict[str, Any]:
    """The launcher of each kernel."""
    found = {}
    for kernel, parameters in kernels.items():
        function = library[f"launch_{kernel}"]
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_uint, ctypes.c_uint] + [
            ctypes.c_void_p if one.pointer else np.ctypeslib.as_ctypes_type(one.numpy_type(element))
            for one in parameters
        ]
        found[kernel] = function
    return found


@functools.cache
def working_together(source: str) -> frozenset[str]:
    """The names of functions and macros whose threads work with others of their block: those that
    use shared memory, barriers, shuffles or BLOCK, and those that call them."""
    pieces = list(_pieces(COMMENT.sub(" ", source)))
    found: set[str] = set()
    while True:
        more = {
            name
            for names, text in pieces
            if _TOGETHER.search(text) or not found.isdisjoint(re.findall(r"\w+", text))
            for name in names
        }
        if more == found:
            return frozenset(found)
        found = more


def _pieces(source: str) -> Iterator[tuple[list[str], str]]:
    """The macros, functions and types of a source: their names, and their text."""
    for macro in _MACRO.finditer(source):
        yield [macro[1]], macro[2]
    text = _MACRO.sub("", source)
    start = depth = 0
    head = ""
    for match in re.finditer(r"[{};]", text):
        if match[0] == "{":
            if depth == 0:
                head = text[start : match.start()]
            depth += 1
            continue
        depth -= match[0] == "}"
        if depth == 0:
            if match[0] == "}":
                names = _NAMED_TYPE.findall(head) + _CALLED.findall(head)
                yield names, text[start : match.end()]
            start = match.end()
