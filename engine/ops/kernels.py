"""CUDA kernels as source text, beside the numpy body of an op.

    SOURCE = '''
    extern "C" __global__ void sin_forward(size_t count, T amplitude, const T* x, T* out) {
      for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        out[i] = amplitude * sin(x[i]);
    }
    '''
    self.kernels = Kernels(ops, SOURCE)         # in the op's __init__
    if self.kernels:                            # in a step of it: true where the backend runs them
        self.kernels.launch("sin_forward", x.count, self.amplitude, x, out)

How a kernel is written: `extern "C" __global__ void`; the first parameter is the count of elements,
which a grid-stride loop covers, whatever the grid; T is the element type, float or double. Pointers
take Values in C order: `const T*` is read, `T*` is overwritten, and what is called `add_...` is
added to. Scalars take Python numbers, which are cast to the type that the kernel declares. An op
that works in place gets one address twice: no `__restrict__` then. Kernels that are launched by
rows (`launch_rows`) have BLOCK threads in a block, a multiple of 32 that differs by runtime.
INFINITY and NAN are floats.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from caffepy.engine.core.backend import Runtime
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops

ELEMENT = "T"  # stands for the element type in kernels
C_NAMES: dict[np.dtype, str] = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_TYPES: dict[str, type[np.generic]] = {
    "float": np.float32,
    "double": np.float64,
    "bool": np.bool_,
    "unsigned char": np.uint8,
    "unsigned short": np.uint16,
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned int": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "size_t": np.uint64,
}
_NUMBERS = (bool, int, float, np.generic)
_COUNTS = ("int", "unsigned", "unsigned int", "size_t", "long long", "unsigned long long")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)'
)
_PARAMETER = re.compile(r"(.*?)(\*?)\s*(?:__restrict__\s*)?(\w+)\s*")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel. type: in C, without const and pointer."""

    name: str
    type: str
    pointer: bool
    const: bool

    def numpy_type(self, element: np.dtype) -> np.dtype:
        """The type where T is `element`."""
        return element if self.type == ELEMENT else np.dtype(_TYPES[self.type])


@functools.cache
def signatures(source: str, name: str) -> Mapping[str, tuple[Parameter, ...]]:
    """The parameters of every kernel in a source, by the kernel's name. name: of the source.

    Raises: DeviceError where there is no kernel, or one that cannot be launched.
    """
    found = {
        kernel: tuple(
            _parameter(text, f"{name}: kernel '{kernel}'") for text in parameters.split(",")
        )
        for kernel, parameters in _KERNEL.findall(COMMENT.sub(" ", source))
    }
    if not found:
        raise DeviceError(
            f'{name}: expected a kernel, `extern "C" __global__ void name(...)`, got none. Write '
            "it so."
        )
    for kernel, (first, *_) in found.items():
        if first.pointer or first.type not in _COUNTS:
            raise DeviceError(
                f"{name}: kernel '{kernel}': expected the count of elements as first parameter, as "
                f"in `size_t count`, got '{first.name}'. Put it there."
            )
    return found


def _parameter(text: str, where: str) -> Parameter:
    match = _PARAMETER.fullmatch(" ".join(text.split()))
    words = match[1].split() if match else []
    kind = " ".join(word for word in words if word != "const")
    if match is None or (kind not in _TYPES and kind != ELEMENT):
        raise DeviceError(
            f"{where}: parameter '{text.strip()}': expected one of the types {ELEMENT}, "
            f"{', '.join(_TYPES)}, or a pointer to one, got another. Pass it as one of these."
        )
    return Parameter(match[3], kind, bool(match[2]), "const" in words)


def instantiated(source: str, name: str, element: str) -> str:
    """The source with T as `element`, for a compiler, which calls its lines those of `name`.

    A typedef: as a macro, T breaks the templates of NVIDIA's own headers.
    INFINITY and NAN: NVRTC has no header for them. BLOCK is defined by what compiles.
    """
    return "\n".join(
        (
            f"typedef {element} {ELEMENT};",
            "#undef INFINITY",
            "#undef NAN",
            "#define INFINITY __int_as_float(0x7f800000)",
            "#define NAN __int_as_float(0x7fffffff)",
            f'#line 1 "{name}"',
            source,
        )
    )


class Kernels:
    """The kernels of one CUDA source, for the ops of one backend. Compiled at the first launch.

    False on a backend that does not run kernels: the op then computes by its numpy body.
    name: what messages call the source.

    Raises: DeviceError where the source has no kernel that can be launched.
    """

    def __init__(self, ops: Ops, source: str, name: str = "kernels.cu") -> None:
        self.ops = ops
        self.source = source
        self.name = name
        self._signatures = signatures(source, name)
        self._program: Any = None
        self._calls: dict[str, _Call] = {}

    def __bool__(self) -> bool:
        return self.ops.runtime is not None

    def launch(self, kernel: str, count: int, *arguments: Any) -> None:
        """Runs a kernel over `count` elements.

        arguments: for the parameters behind the count: Values for pointers, numbers for scalars.
        Raises: DeviceError where they do not fit the kernel, or it cannot be compiled.
        """
        sent = self._prepared(kernel, count, arguments)
        if count:
            self._runtime.launch(self._program, kernel, count, sent)

    def launch_rows(self, kernel: str, count: int, *arguments: Any) -> None:
        """As `launch`, with a block of threads for each of `count` rows or fewer, whose threads
        may work together."""
        sent = self._prepared(kernel, count, arguments)
        if count:
            self._runtime.launch_rows(self._program, kernel, count, sent)

    @property
    def _runtime(self) -> Runtime:
        runtime = self.ops.runtime
        assert runtime is not None, "ask whether the backend runs kernels before launching one"
        return runtime

    def _prepared(
        self, kernel: str, count: int, arguments: Sequence[Any]
    ) -> list[Buffer | np.generic]:
        """The count and the arguments as the runtime takes them; the source is compiled."""
        call = self._calls.get(kernel)
        if call is None:
            call = self._calls[kernel] = self._call(kernel)
        sent = call.sent(count, arguments, self._runtime.layout)
        if self._program is None:
            self._program = self._runtime.build(self.source, self.name, C_NAMES[self.ops.dtype])
        return sent

    def _call(self, kernel: str) -> _Call:
        where = f"{self.name}: kernel '{kernel}'"
        if kernel not in self._signatures:
            raise DeviceError(
                f"{where}: expected one of {', '.join(self._signatures)}, got another name. "
                "Correct it."
            )
        return _Call(where, self._signatures[kernel], self.ops.dtype)


class _Call:
    """How arguments become what a kernel takes. where: the kernel, for messages."""

    def __init__(self, where: str, parameters: Sequence[Parameter], element: np.dtype) -> None:
        self._where = where
        self._parameters = parameters
        types = [one.numpy_type(element) for one in parameters]
        self._types = types
        places = range(len(parameters))
        self._reals = [
            (place, types[place].type)
            for place in places
            if not parameters[place].pointer and types[place].kind not in "iu"
        ]
        self._integers = [
            (place, types[place].type, *_bounds(types[place]))
            for place in places
            if not parameters[place].pointer and types[place].kind in "iu"
        ]
        self._pointers = [place for place in places if parameters[place].pointer]
        self._read = [place for place in self._pointers if parameters[place].const]
        self._written = [
            (place, parameters[place].name.startswith("add_"))
            for place in self._pointers
            if not parameters[place].const
        ]

    def sent(
        self, count: int, arguments: Sequence[Any], layout: Layout
    ) -> list[Buffer | np.generic]:
        """The count and the arguments: buffers, what is read brought first, so that an op may work
        in place; and scalars of the exact types. Raises: DeviceError where one does not fit."""
        if len(arguments) != len(self._parameters) - 1:
            raise DeviceError(
                f"{self._where}: expected {len(self._parameters) - 1} argument(s) behind the "
                f"count, got {len(arguments)}. Give one for each parameter."
            )
        sent: list[Any] = [count, *arguments]
        for place, scalar in self._reals:
            sent[place] = scalar(self._number(place, sent[place]))
        for place, scalar, least, most in self._integers:
            number = self._number(place, sent[place])
            if not least <= number <= most or number != int(number):
                self._refuse(place, f"a whole number from {least} to {most}", number)
            sent[place] = scalar(int(number))
        for place in self._pointers:
            self._check(place, sent[place])
        read = set()
        for place in self._read:
            read.add(sent[place].storage_id)
            sent[place] = sent[place].read(layout)
        for place, adds in self._written:
            value = sent[place]
            kept = adds or value.storage_id in read
            sent[place] = value.modify(layout) if kept else value.write(layout)
        return sent

    def _number(self, place: int, argument: Any) -> Any:
        if not isinstance(argument, _NUMBERS):
            self._refuse(place, "a number", f"a {type(argument).__name__}")
        return argument

    def _check(self, place: int, argument: Any) -> None:
        """Raises: DeviceError where an argument is no Value of the pointer's type."""
        wanted = self._types[place]
        if not isinstance(argument, Value):
            self._refuse(place, "a Value", f"a {type(argument).__name__}")
        if argument.dtype is not wanted and argument.dtype != wanted:
            self._refuse(place, f"a Value of {wanted}", f"one of {argument.dtype}")

    def _refuse(self, place: int, expected: str, got: Any) -> NoReturn:
        raise DeviceError(
            f"{self._where}: parameter '{self._parameters[place].name}': expected {expected}, got "
            f"{got}. Correct the call, or the kernel."
        )


def _bounds(dtype: np.dtype) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    bounds = np.iinfo(dtype)
    return int(bounds.min), int(bounds.max)
