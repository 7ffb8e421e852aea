"""oneDNN's numbers and objects in Python: memory descriptors and primitives.

All elements are float32. Scratchpad memory is handed over with each execution (the library's own
would tie a primitive to the thread that made it).
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.aligned import aligned_zeros
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.onednn.library import UNIMPLEMENTED, failure, library

_FLOAT32 = 3  # dnnl_f32
_ANY = 1  # dnnl_format_tag_any
_IMPLEMENTATION = 8  # dnnl_query_impl_info_str
_ARGUMENT = 255  # dnnl_query_exec_arg_md
_NUM_AXES, _DIMS = 256, 257  # dnnl_query_ndims_s32, dnnl_query_dims
_USER_SCRATCHPAD = 1  # dnnl_scratchpad_mode_user


class Pass(IntEnum):
    """dnnl_prop_kind_t"""

    FORWARD_TRAINING = 64
    FORWARD_INFERENCE = 96
    BACKWARD = 128
    BACKWARD_DATA = 160


class Algorithm(IntEnum):
    """dnnl_alg_kind_t"""

    CONVOLUTION_DIRECT = 0x1
    RELU = 0x20
    ELU = 0x22
    ABSOLUTE = 0x24
    SQUARE_ROOT = 0x25
    LINEAR = 0x26
    SWISH = 0x2C
    POWER = 0x30
    MISH = 0x33
    TANH = 0x101  # the gradient is taken from the output
    LOGISTIC = 0x104  # likewise
    POOLING_MAX = 0x1FF
    POOLING_AVERAGE_WITH_PADDING = 0x2FF
    POOLING_AVERAGE_WITHOUT_PADDING = 0x3FF
    LRN_ACROSS_CHANNELS = 0xAFF
    LRN_WITHIN_CHANNEL = 0xBFF
    BINARY_ADD = 0x1FFF0
    BINARY_MUL = 0x1FFF1
    BINARY_MAX = 0x1FFF2
    BINARY_DIVIDE = 0x1FFF4
    BINARY_SUBTRACT = 0x1FFF5
    BINARY_LESS = 0x1FFF9


class NormalisationFlag(IntFlag):
    """dnnl_normalization_flags_t"""

    NONE = 0
    GIVEN_STATISTICS = 1
    SCALE = 2
    SHIFT = 4
    RELU = 8


class Arg(IntEnum):
    """DNNL_ARG_*: the place of an array in an execution."""

    SOURCE = 1
    SOURCE_1 = 2
    TARGET = 17
    WEIGHTS = 33
    BIAS = 41
    MEAN = 49
    VARIANCE = 50
    SCALE = 51
    SHIFT = 52
    WORKSPACE = 64
    SCRATCHPAD = 80
    SOURCE_DIFF = 129
    TARGET_DIFF = 145
    WEIGHTS_DIFF = 161
    BIAS_DIFF = 169
    SCALE_DIFF = 255
    SHIFT_DIFF = 256
    MULTIPLE_SOURCE = 1024  # the first of several
    POST_OP = 32768  # times its place in the order, from 1, plus the place in that operation


class Handle:
    """Owns one object of the library and frees it."""

    __slots__ = ("_destroy", "pointer")
    holds_arrays: ClassVar[bool] = False

    def __init__(self, pointer: ctypes.c_void_p, kind: str) -> None:
        self.pointer = pointer
        self._destroy = library().function(f"dnnl_{kind}_destroy")

    def __del__(self) -> None:
        self._destroy(self.pointer)


class Descriptor(Handle):
    """How a tensor lies in memory: sizes along its axes, and a layout or `any`.

    dims: the sizes.  bytes: of memory needed, padding included; 0 for `any`.
    """

    __slots__ = ("bytes", "dims")

    def __init__(self, pointer: ctypes.c_void_p, dims: Sequence[int]) -> None:
        super().__init__(pointer, "memory_desc")
        self.dims = tuple(dims)
        self.bytes: int = library().function("dnnl_memory_desc_get_size")(pointer)

    @staticmethod
    def any(dims: Sequence[int]) -> Descriptor:
        """The layout is up to the primitive."""
        pointer = library().make(
            "dnnl_memory_desc_create_with_tag", len(dims), _dims(dims), _FLOAT32, _ANY
        )
        return Descriptor(pointer, dims)

    @staticmethod
    def plain(dims: Sequence[int], strides: Sequence[int] | None = None) -> Descriptor:
        """C order, or the given strides (in elements)."""
        if strides is None:
            strides = [math.prod(dims[axis + 1 :]) for axis in range(len(dims))]
        pointer = library().make(
            "dnnl_memory_desc_create_with_strides",
            len(dims), _dims(dims), _FLOAT32, _dims(strides),
        )  # fmt: skip
        return Descriptor(pointer, dims)

    def part(self, dims: Sequence[int], start: Sequence[int]) -> Descriptor | None:
        """A part of this memory: `dims` elements from `start` on; None where it would begin or end
        inside a block."""
        pointer = ctypes.c_void_p()
        status = library().function("dnnl_memory_desc_create_submemory")(
            ctypes.byref(pointer), self.pointer, _dims(dims), _dims(start)
        )
        if status == UNIMPLEMENTED:
            return None
        if status:
            raise DeviceError(failure(f"part {tuple(dims)} of {self.dims}", status))
        return Descriptor(pointer, dims)

    def equals(self, other: Descriptor) -> bool:
        """Whether both describe the same memory."""
        equal = library().function("dnnl_memory_desc_equal")
        return bool(equal(self.pointer, other.pointer))


class Primitive(Handle):
    """The description of an operation on given tensors (a primitive descriptor); layouts are
    chosen."""

    __slots__ = ("name",)

    def __init__(self, pointer: ctypes.c_void_p, name: str) -> None:
        super().__init__(pointer, "primitive_desc")
        self.name = name

    def argument(self, place: int) -> Descriptor:
        """The layout in which the primitive wants an argument."""
        query = library().function("dnnl_primitive_desc_query_md")
        borrowed = ctypes.c_void_p(query(self.pointer, _ARGUMENT, place))
        num_axes = ctypes.c_int()
        library().call(
            "dnnl_memory_desc_query", borrowed, _NUM_AXES, ctypes.byref(num_axes), what=self.name
        )
        dims: Sequence[int] = ()
        if num_axes.value:
            pointer = ctypes.POINTER(ctypes.c_int64)()
            library().call(
                "dnnl_memory_desc_query", borrowed, _DIMS, ctypes.byref(pointer), what=self.name
            )
            dims = pointer[: num_axes.value]
        elif place > Arg.POST_OP:  # of a slope the library does not tell
            return Descriptor.plain((1,) * len(self.argument(Arg.TARGET).dims))
        return Descriptor(library().make("dnnl_memory_desc_clone", borrowed), dims)

    @property
    def implementation(self) -> str:
        """The name of the code that was chosen, as `jit:avx512_core`."""
        name = ctypes.c_char_p()
        library().call(
            "dnnl_primitive_desc_query", self.pointer, _IMPLEMENTATION, 0, ctypes.byref(name)
        )
        return (name.value or b"").decode()

    def preferring(self, name: str) -> Primitive:
        """The same with an implementation in whose name `name` stands; this one where it has
        none."""
        found = Primitive(
            library().make("dnnl_primitive_desc_clone", self.pointer, what=self.name), self.name
        )
        turn_to_next = library().function("dnnl_primitive_desc_next_impl")
        while name not in found.implementation:
            if turn_to_next(found.pointer):
                return self
        return found


def describe(
    kind: str, *arguments: Any, forward: Primitive | None = None, attributes: Handle | None = None
) -> Primitive:
    """Makes a primitive of a kind such as "convolution_forward".

    arguments: those of dnnl_<kind>_primitive_desc_create after the engine, without hint and
    attributes; tuples of ints for dnnl_dims_t, lists of descriptors.  forward: the forward
    primitive that a backward one belongs to.  attributes: made by `new_attributes`.

    Raises: DeviceError with kind and shapes where the library has no such primitive.
    """
    descriptors = itertools.chain.from_iterable(
        argument if isinstance(argument, list) else [argument] for argument in arguments
    )
    shapes = [each.dims for each in descriptors if isinstance(each, Descriptor)]
    name = f"{kind} of {', '.join(map(str, shapes))}"
    hint = () if forward is None else (forward.pointer,)
    pointer = library().make(
        f"dnnl_{kind}_primitive_desc_create",
        library().engine, *map(_native, arguments), *hint,
        (attributes or _usual_attributes()).pointer, what=name,
    )  # fmt: skip
    return Primitive(pointer, name)


def aligned(size: int) -> np.ndarray:
    """Zeros, flat float32, `size` bytes rounded up to whole elements, at an aligned address."""
    return aligned_zeros(-(-size // 4))


def _dims(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def _native(argument: Any) -> Any:
    if isinstance(argument, Handle):
        return argument.pointer
    if isinstance(argument, list):
        return (ctypes.c_void_p * len(argument))(*(each.pointer for each in argument))
    return _dims(argument) if isinstance(argument, tuple) else argument


def new_attributes() -> Handle:
    """Attributes of a primitive: scratch memory comes from the caller."""
    made = Handle(library().make("dnnl_primitive_attr_create"), "primitive_attr")
    library().call("dnnl_primitive_attr_set_scratchpad_mode", made.pointer, _USER_SCRATCHPAD)
    return made


@functools.cache
def _usual_attributes() -> Handle:
    return new_attributes()


def reorder(source: Descriptor, target: Descriptor) -> Primitive:
    """The primitive that copies from one layout into another."""
    name = f"reorder of {source.dims}"
    engine = library().engine
    pointer = library().make(
        "dnnl_reorder_primitive_desc_create",
        source.pointer, engine, target.pointer, engine, _usual_attributes().pointer, what=name,
    )  # fmt: skip
    return Primitive(pointer, name)
