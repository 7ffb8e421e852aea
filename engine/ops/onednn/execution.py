"""Running primitives on arrays."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from operator import is_
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.aligned import address
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.onednn.binding import Arg, Descriptor, Handle, Primitive, aligned
from caffepy.engine.ops.onednn.library import failure, library


class Scratchpad:
    """Memory that primitives use while they run, one for all primitives of one thread."""

    __slots__ = ("array", "users")

    def __init__(self) -> None:
        self.array = aligned(0)
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()  # executions, and what keeps some

    def reserve(self, size: int) -> None:
        """Makes `array` at least `size` bytes long."""
        if self.array.nbytes < size:
            self.array = aligned(size)


class Execution:
    """A primitive that is ready to run, and the arrays it last ran on.

    Arrays are C-contiguous float32 memory of the size that the argument's descriptor asks for;
    their shape is not looked at. Binding them is done once: calls with the same arrays cost one
    call into the library.
    """

    holds_arrays: ClassVar[bool] = False  # of its own; it lets go of others' by `release`
    __slots__ = (
        "__weakref__",
        "_arguments",
        "_arrays",
        "_bound_scratchpad",
        "_compiled",
        "_count",
        "_descriptors",
        "_library",
        "_memories",
        "_name",
        "_places",
        "_scratchpad",
        "_table",
    )

    def __init__(self, primitive: Primitive, scratchpad: Scratchpad, *places: int) -> None:
        self._library = library()
        self._name = primitive.name
        self._compiled = Handle(
            self._library.make("dnnl_primitive_create", primitive.pointer, what=primitive.name),
            "primitive",
        )
        self._places = (*places, Arg.SCRATCHPAD)
        self._descriptors = [primitive.argument(place) for place in self._places]
        scratchpad.reserve(self._descriptors[-1].bytes)
        scratchpad.users.add(self)
        self._scratchpad = scratchpad
        self._bound_scratchpad: np.ndarray | None = None
        self._arrays: Sequence[np.ndarray | None] = (None,) * len(places)
        self._memories: list[Handle] = []
        self._count = 0
        self._arguments = 0  # the address of `_table`
        self._table: Any = None

    def __call__(self, *arrays: np.ndarray) -> None:
        """Runs on the arrays, one per place. Raises: DeviceError where the library refuses."""
        if self._scratchpad.array is not self._bound_scratchpad or not all(
            map(is_, arrays, self._arrays)
        ):
            self.bind(arrays)
        self.repeat()

    def repeat(self) -> None:
        """Runs on what was bound last, which must be there still if it was released."""
        status = self._library.execute(
            self._compiled.pointer, self._library.stream, self._count, self._arguments
        )
        if status:
            raise DeviceError(failure(f"running {self._name}", status))

    def release(self) -> None:
        """Lets go of the arrays it last ran on."""
        self._arrays = (None,) * (len(self._places) - 1)

    def bind(self, arrays: Sequence[np.ndarray]) -> None:
        """Makes `repeat` run on these arrays."""
        assert len(arrays) == len(self._places) - 1
        scratchpad = self._scratchpad.array
        pairs = list(zip(self._descriptors, (*arrays, scratchpad), strict=True))
        for descriptor, array in pairs:
            assert array.nbytes >= descriptor.bytes, f"{array.shape} for {descriptor.dims}"
            assert array.flags.c_contiguous
            assert array.dtype == np.float32
        if self._memories:
            for handle, (_, array) in zip(self._memories, pairs, strict=True):
                self._library.call("dnnl_memory_set_data_handle", handle.pointer, address(array))
        else:
            self._memories = [_memory(*pair) for pair in pairs]
            self._count = len(self._places)
            self._table = (_Argument * self._count)(
                *(
                    _Argument(place, handle.pointer)
                    for place, handle in zip(self._places, self._memories, strict=True)
                )
            )
            self._arguments = ctypes.addressof(self._table)
        self._arrays = arrays
        self._bound_scratchpad = scratchpad


class _Argument(ctypes.Structure):
    """dnnl_exec_arg_t"""

    _fields_ = (("place", ctypes.c_int), ("memory", ctypes.c_void_p))


def _memory(descriptor: Descriptor, array: np.ndarray) -> Handle:
    """A memory object over an array, which must live as long."""
    known = library()
    pointer = known.make("dnnl_memory_create", descriptor.pointer, known.engine, address(array))
    return Handle(pointer, "memory")
