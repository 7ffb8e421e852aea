"""Finding and loading oneDNN's shared library, and what belongs to the library as a whole.

Nothing is loaded at import: `library()` does it at first use and keeps the result.

A process that forked after oneDNN ran must not run it again: the library's threads did not survive,
and the next parallel region would wait for them for ever. The child gets a DeviceError instead.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.libraries import candidates

ENVIRONMENT_VARIABLE = "CAFFEPY_DNNL"
MAJOR_VERSION = 3
WHEELS = ("onednn-cpu-gomp", "onednn-cpu-vcomp")
FILE_NAMES = {
    "win32": ("dnnl.dll",),
    "darwin": ("libdnnl.3.dylib", "libdnnl.dylib"),
}.get(sys.platform, ("libdnnl.so.3", "libdnnl.so"))
# How the library's CPU part is parallel (dnnl_cpu_runtime_t). The two others, a thread pool handed
# over with each call and SYCL, need set-up that is not done here.
SEQUENTIAL, OPENMP, TBB = 1, 2, 4
STATUS_NAMES = (
    "success",
    "out of memory",
    "invalid arguments",
    "unimplemented",
    "last implementation reached",
    "runtime error",
    "not required",
)
UNIMPLEMENTED = STATUS_NAMES.index("unimplemented")

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int
_Int64 = ctypes.c_int64
_Float = ctypes.c_float
_Size = ctypes.c_size_t
_Out = ctypes.POINTER(_Pointer)
_Pointers = ctypes.POINTER(_Pointer)
_Dims = ctypes.POINTER(_Int64)
_DESCRIPTION = (_Out, _Pointer)  # a primitive descriptor to be made, the engine
_WINDOW = (_Dims,) * 4  # strides, dilations, left and right padding; with the kernel, one more

_STATUS_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "dnnl_engine_create": (_Out, _Int, _Size),
    "dnnl_stream_create": (_Out, _Pointer, ctypes.c_uint),
    "dnnl_memory_desc_create_with_tag": (_Out, _Int, _Dims, _Int, _Int),
    "dnnl_memory_desc_create_with_strides": (_Out, _Int, _Dims, _Int, _Dims),
    "dnnl_memory_desc_clone": (_Out, _Pointer),
    "dnnl_memory_desc_create_submemory": (_Out, _Pointer, _Dims, _Dims),
    "dnnl_memory_desc_query": (_Pointer, _Int, _Pointer),
    "dnnl_memory_desc_destroy": (_Pointer,),
    "dnnl_memory_create": (_Out, _Pointer, _Pointer, _Pointer),
    "dnnl_memory_set_data_handle": (_Pointer, _Pointer),
    "dnnl_memory_destroy": (_Pointer,),
    "dnnl_primitive_attr_create": (_Out,),
    "dnnl_primitive_attr_destroy": (_Pointer,),
    "dnnl_primitive_attr_set_scratchpad_mode": (_Pointer, _Int),
    "dnnl_primitive_attr_set_post_ops": (_Pointer, _Pointer),
    "dnnl_post_ops_create": (_Out,),
    "dnnl_post_ops_append_binary": (_Pointer, _Int, _Pointer),
    "dnnl_post_ops_append_prelu": (_Pointer, _Int),
    "dnnl_post_ops_append_eltwise": (_Pointer, _Int, _Float, _Float),
    "dnnl_post_ops_append_sum": (_Pointer, _Float, ctypes.c_int32, _Int),
    "dnnl_post_ops_destroy": (_Pointer,),
    "dnnl_primitive_desc_query": (_Pointer, _Int, _Int, _Pointer),
    "dnnl_primitive_desc_clone": (_Out, _Pointer),
    "dnnl_primitive_desc_next_impl": (_Pointer,),
    "dnnl_primitive_desc_destroy": (_Pointer,),
    "dnnl_primitive_create": (_Out, _Pointer),
    "dnnl_primitive_execute": (_Pointer, _Pointer, _Int, _Pointer),
    "dnnl_primitive_destroy": (_Pointer,),
    "dnnl_reorder_primitive_desc_create": (_Out, *(_Pointer,) * 5),
    "dnnl_binary_primitive_desc_create": (*_DESCRIPTION, _Int, *(_Pointer,) * 4),
    "dnnl_eltwise_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Int, _Pointer, _Pointer, _Float, _Float, _Pointer,
    ),
    "dnnl_eltwise_backward_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 3, _Float, _Float, _Pointer, _Pointer,
    ),
    "dnnl_concat_primitive_desc_create": (
        *_DESCRIPTION, _Pointer, _Int, _Int, _Pointers, _Pointer,
    ),
    "dnnl_prelu_forward_primitive_desc_create": (*_DESCRIPTION, _Int, *(_Pointer,) * 4),
    "dnnl_prelu_backward_primitive_desc_create": (*_DESCRIPTION, *(_Pointer,) * 7),
    "dnnl_convolution_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Int, *(_Pointer,) * 4, *_WINDOW, _Pointer,
    ),
    "dnnl_convolution_backward_data_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 3, *_WINDOW, _Pointer, _Pointer,
    ),
    "dnnl_convolution_backward_weights_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 4, *_WINDOW, _Pointer, _Pointer,
    ),
    "dnnl_pooling_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Int, _Pointer, _Pointer, _Dims, *_WINDOW, _Pointer,
    ),
    "dnnl_pooling_backward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Pointer, _Pointer, _Dims, *_WINDOW, _Pointer, _Pointer,
    ),
    "dnnl_lrn_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Int, _Pointer, _Pointer, _Int64, *(_Float,) * 3, _Pointer,
    ),
    "dnnl_lrn_backward_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 3, _Int64, *(_Float,) * 3, _Pointer, _Pointer,
    ),
    "dnnl_batch_normalization_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, _Pointer, _Pointer, _Float, ctypes.c_uint, _Pointer,
    ),
    "dnnl_batch_normalization_backward_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 3, _Float, ctypes.c_uint, _Pointer, _Pointer,
    ),
    "dnnl_inner_product_forward_primitive_desc_create": (
        *_DESCRIPTION, _Int, *(_Pointer,) * 5,
    ),
    "dnnl_inner_product_backward_data_primitive_desc_create": (
        *_DESCRIPTION, *(_Pointer,) * 5,
    ),
    "dnnl_inner_product_backward_weights_primitive_desc_create": (
        *_DESCRIPTION, *(_Pointer,) * 6,
    ),
}  # fmt: skip


class _Version(ctypes.Structure):
    """dnnl_version_t"""

    _fields_ = (
        ("major", _Int),
        ("minor", _Int),
        ("patch", _Int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    )


class Library:
    """A loaded oneDNN: its functions with their types, one CPU engine and one stream.

    Engine and stream live as long as the process, since everything made with them refers to them.

    path: what was loaded.  version: "3.2.0".  engine, stream: handles.
    execute: dnnl_primitive_execute(primitive, stream, count, arguments) -> status.
    Raises: DeviceError where the file cannot be loaded or is no oneDNN that can be used.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = ctypes.CDLL(path)
        except OSError as error:
            raise DeviceError(
                f"oneDNN: {path}: expected a loadable library, got: {error}"
            ) from None
        self.version, self.cpu_runtime = check_version(path, self._read_version())
        for name, argument_types in _STATUS_FUNCTIONS.items():
            self._declare(name, argument_types, _Int)
        for name, argument_types, result in (
            ("dnnl_memory_desc_get_size", (_Pointer,), _Size),
            ("dnnl_memory_desc_equal", (_Pointer, _Pointer), _Int),
            ("dnnl_primitive_desc_query_md", (_Pointer, _Int, _Int), _Pointer),
        ):
            self._declare(name, argument_types, result)
        self.execute: Any = self._file.dnnl_primitive_execute
        cpu, default_stream = 1, 1
        self.engine = self.make("dnnl_engine_create", cpu, 0)
        self.stream = self.make("dnnl_stream_create", self.engine, default_stream)
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._close_after_fork)

    def function(self, name: str) -> Any:
        """A function of the C API."""
        return getattr(self._file, name)

    def call(self, name: str, *arguments: Any, what: str = "") -> None:
        """Calls a function that returns a status.

        Raises: DeviceError with the function's name, `what` and the status where that is no
        success.
        """
        status = self.function(name)(*arguments)
        if status:
            raise DeviceError(failure(what or name, status))

    def make(self, name: str, *arguments: Any, what: str = "") -> ctypes.c_void_p:
        """Calls a function that makes an object, and returns its handle.

        Raises: DeviceError as `call`.
        """
        handle = _Pointer()
        self.call(name, ctypes.byref(handle), *arguments, what=what)
        return handle

    def set_threads(self, threads: int) -> None:
        """Lets primitives that the calling thread executes use so many threads.

        Raises: DeviceError where this build of oneDNN offers no way to set it.
        """
        if self.cpu_runtime == SEQUENTIAL and threads == 1:
            return
        # The loader looks a name up in the library's dependencies too: libgomp or libiomp5.
        setter = getattr(self._file, "omp_set_num_threads", None)
        if self.cpu_runtime != OPENMP or setter is None:
            raise DeviceError(
                f"oneDNN: {self.path}: expected a build that runs on OpenMP, to set {threads} "
                "thread(s), got another. Leave the number of threads out, or install "
                f"{WHEELS[0]}."
            )
        setter(threads)

    @property
    def threads(self) -> int | None:
        """How many threads primitives use that the calling thread executes; None where this build
        does not tell."""
        if self.cpu_runtime == SEQUENTIAL:
            return 1
        asked = getattr(self._file, "omp_get_max_threads", None)
        return None if self.cpu_runtime != OPENMP or asked is None else int(asked())

    def _declare(self, name: str, argument_types: tuple[Any, ...], result: Any) -> None:
        """Gives a function its types. Raises: DeviceError where the file has none of this name."""
        function = getattr(self._file, name, None)
        if function is None:
            raise DeviceError(refused(self.path, f"the function {name}", "none of this name"))
        function.argtypes, function.restype = argument_types, result

    def _read_version(self) -> _Version | None:
        function = getattr(self._file, "dnnl_version", None)
        if function is None:
            return None
        function.restype = ctypes.POINTER(_Version)
        found: _Version = function().contents
        return found

    def _close_after_fork(self) -> None:
        def refuse(*arguments: Any) -> int:
            raise DeviceError(_FORKED)

        self.forked = True
        self.execute = refuse


_FORKED = (
    "oneDNN: expected to run in the process that first used it, got a process forked from it, "
    "which lacks the library's threads. Start processes with multiprocessing's 'spawn' method, or "
    "use threads."
)
_loaded: Library | None = None
_loading = threading.Lock()


def library() -> Library:
    """The oneDNN library of this process, loaded at the first call.

    Looked for in the file that the environment variable CAFFEPY_DNNL names, and only there if it is
    set; else in the installed wheel; else where the system keeps libraries.

    Raises: DeviceError where there is none, or this process was forked from one that used it.
    """
    global _loaded  # noqa: PLW0603 - one library per process
    with _loading:
        if _loaded is None:
            _loaded = _find()
    if _loaded.forked:
        raise DeviceError(_FORKED)
    return _loaded


def available() -> str | None:
    """Why oneDNN cannot be used in this process; None where it can. Loads the library."""
    try:
        library()
    except DeviceError as error:
        return str(error)
    return None


def check_version(path: str, found: _Version | None) -> tuple[str, int]:
    """The version as text and the CPU runtime.

    Raises: DeviceError where the library is of another major version or runtime than can be used.
    """
    name = f"{found.major}.{found.minor}.{found.patch}" if found else "an older one"
    if found is None or found.major != MAJOR_VERSION:
        raise DeviceError(refused(path, f"version {MAJOR_VERSION}.x", name))
    if found.cpu_runtime not in (SEQUENTIAL, OPENMP, TBB):
        got = f"runtime number {found.cpu_runtime} (SYCL or a custom thread pool)"
        raise DeviceError(refused(path, "a build for OpenMP, TBB or one thread", got))
    return name, found.cpu_runtime


def refused(path: str, expected: str, got: str) -> str:
    """The message for a library that cannot be used."""
    return (
        f"oneDNN: {path}: expected {expected}, got {got}. Install {WHEELS[0]}, or name another "
        f"file in {ENVIRONMENT_VARIABLE}."
    )


def failure(what: str, status: int) -> str:
    """The message for a call that returned a status other than success."""
    name = STATUS_NAMES[status] if status < len(STATUS_NAMES) else "unknown"
    return (
        f"oneDNN: {what}: expected success, got status {status} ({name}). "
        "Run with the numpy engine, and report this."
    )


def _find() -> Library:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Library(named)
    reasons = []
    for path in candidates(WHEELS, FILE_NAMES):
        try:
            return Library(path)
        except DeviceError as error:
            reasons.append(str(error))
    raise DeviceError(
        f"oneDNN: expected an installed library of version {MAJOR_VERSION}.x, got none. Install "
        f"{WHEELS[0]}, or name the file in {ENVIRONMENT_VARIABLE}. Tried: {'; '.join(reasons)}"
    )
