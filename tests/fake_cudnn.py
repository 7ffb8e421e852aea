"""A cudnn on the host, of what `engine/ops/cuda/frontend.py` calls: graphs of one convolution, with
a bias behind it.

Plans take tensors by addresses, compute by the numpy engine in float64, and fill their workspace.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps

STREAM = 4711


class data_type(Enum):
    NOT_SET, FLOAT, HALF, BFLOAT16 = auto(), auto(), auto(), auto()


class heur_mode(Enum):
    A, B, FALLBACK = auto(), auto(), auto()


class numerical_note(Enum):
    TENSOR_CORE, DOWN_CONVERT_INPUTS, WINOGRAD, FFT, NONDETERMINISTIC = (auto() for _ in range(5))


class cudnnGraphNotSupportedError(Exception):
    """There is no such plan."""


class Handle:
    """What versions from 1.30 on give; before, it is a number."""

    stream: int | None = None


_DTYPES: dict[data_type, np.dtype] = {
    data_type.FLOAT: np.dtype(np.float32),
    data_type.HALF: np.dtype(np.float16),
    data_type.BFLOAT16: np.dtype(np.uint16),
}
# What cuDNN offers for each graph, the best guess first: notes, and bytes of workspace.
_N = numerical_note
OFFERED: tuple[tuple[set[numerical_note], int], ...] = (
    ({_N.TENSOR_CORE}, 1 << 40),  # more than there is
    ({_N.TENSOR_CORE, _N.NONDETERMINISTIC}, 4099),
    ({_N.TENSOR_CORE}, 1003),
    ({_N.DOWN_CONVERT_INPUTS}, 5),
    ({_N.WINOGRAD}, 70),
    ({_N.FFT}, 7),
    ({_N.NONDETERMINISTIC}, 4),
    (set(), 0),
)


class Tensor:
    """A tensor of a graph. virtual: it lies nowhere."""

    def __init__(self, uid: int, name: str, data_type: data_type, virtual: bool) -> None:
        self.uid, self.name, self.data_type, self.virtual = uid, name, data_type, virtual
        self.dim: list[int] = []
        self.stride: list[int] = []

    def set_output(self, is_output: bool) -> Tensor:
        self.virtual = not is_output
        return self

    def set_data_type(self, data_type: data_type) -> Tensor:
        self.data_type = data_type
        return self

    def set_dim(self, dim: Sequence[int]) -> Tensor:
        self.dim = list(dim)
        return self

    def set_stride(self, stride: Sequence[int]) -> Tensor:
        self.stride = list(stride)
        return self

    def array(self, address: int) -> np.ndarray:
        """Its memory, as it lies."""
        dtype = _DTYPES[self.data_type]
        extent = 1 + sum(
            (size - 1) * step for size, step in zip(self.dim, self.stride, strict=True)
        )
        memory: Any = (ctypes.c_char * (extent * dtype.itemsize)).from_address(address)
        steps = [step * dtype.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(np.frombuffer(memory, dtype), self.dim, steps)

    def numbers(self, address: int) -> np.ndarray:
        """What is in it."""
        array = self.array(address)
        if self.data_type is data_type.BFLOAT16:
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float64)


class pygraph:
    """A graph, from its description to its plans."""

    def __init__(
        self,
        cudnn: FakeCudnn,
        io_data_type: data_type,
        intermediate_data_type: data_type,
        compute_data_type: data_type,
        handle: Any,
    ) -> None:
        assert compute_data_type is intermediate_data_type is data_type.FLOAT
        cudnn.check_handle(handle)
        self._cudnn = cudnn
        self._io = io_data_type
        self._tensors: list[Tensor] = []
        self._stage = 0  # described, valid, built, with plans
        self._unwanted: set[numerical_note] = set()
        self._most = math.inf
        self._built: set[int] = set()
        self._bias: Tensor | None = None
        self._uids = itertools.count(100)

    # ---- the description

    def _new(self, name: str, data_type: data_type, virtual: bool) -> Tensor:
        assert self._stage == 0, "a graph that is built does not change"
        made = Tensor(next(self._uids), name, data_type, virtual)
        self._tensors.append(made)
        return made

    def tensor(self, name: str, dim: list[int], stride: list[int], data_type: data_type) -> Tensor:
        return self._new(name, data_type, False).set_dim(dim).set_stride(stride)

    def conv_fprop(self, image: Tensor, weight: Tensor, **windows: list[int]) -> Tensor:
        return self._convolution("y", windows, x=image, w=weight)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **windows: list[int]) -> Tensor:
        return self._convolution("x", windows, y=loss, w=filter)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **windows: list[int]) -> Tensor:
        return self._convolution("w", windows, x=image, y=loss)

    def _convolution(
        self, result: str, windows: Mapping[str, list[int]], **given: Tensor
    ) -> Tensor:
        assert windows.keys() == {"pre_padding", "post_padding", "stride", "dilation"}
        self._result, self._given, self._windows = result, given, windows
        self._out = self._convolved = self._new(result, self._io, True)
        return self._out

    def bias(self, input: Tensor, bias: Tensor) -> Tensor:
        assert input is self._convolved
        assert self._result == "y"
        self._bias, self._out = bias, self._new("biased", self._io, True)
        return self._out

    # ---- its plans

    def validate(self) -> None:
        seen = [each for each in self._tensors if not each.virtual]
        for each in seen:
            assert len(each.dim) == len(each.stride) in (4, 5), f"{each.name}: dims and strides"
            assert min(each.dim) > 0, f"{each.name}: an empty tensor"
            places = np.lib.stride_tricks.as_strided(
                np.arange(math.prod(each.dim)), each.dim, [8 * step for step in each.stride]
            )
            assert np.unique(places).size == places.size, f"{each.name}: elements in one place"
        assert not self._out.virtual, "the result is no output"
        assert all(each.data_type is self._io for each in self._given.values())
        self._geometry = self._checked_geometry()
        if self._bias is not None:
            assert self._bias.dim == [1, self._geometry.num_output, *[1] * (len(self._out.dim) - 2)]
            assert self._bias.data_type is data_type.FLOAT
        self._stage = 1

    def _checked_geometry(self) -> ConvolutionGeometry:
        shapes = {name: tuple(each.dim) for name, each in self._given.items()}
        shapes[self._result] = tuple(self._out.dim)
        x, w, y = shapes["x"], shapes["w"], shapes["y"]
        assert x[1] % w[1] == 0
        assert self._windows["pre_padding"] == self._windows["post_padding"]
        pad, stride, dilation = (
            tuple(self._windows[name]) for name in ("pre_padding", "stride", "dilation")
        )
        geometry = ConvolutionGeometry(x, w[0], w[2:], stride, pad, dilation, x[1] // w[1])
        assert len(pad) == len(stride) == len(dilation) == len(x) - 2
        assert geometry.fits
        assert (geometry.out_shape, geometry.weight_shape) == (y, w), "sizes that do not match"
        return geometry

    def build_operation_graph(self) -> None:
        assert self._stage == 1, "not validated"
        mixed = self._io is not self._out.data_type
        if self._result in self._cudnn.without_plans or (mixed and self._cudnn.never_mixed):
            raise cudnnGraphNotSupportedError("no engine for this graph")
        self._stage = 2

    def create_execution_plans(self, modes: list[heur_mode]) -> None:
        assert self._stage == 2, "not built"
        assert modes == [heur_mode.A, heur_mode.FALLBACK]
        self._stage = 3

    def deselect_numeric_notes(self, notes: list[numerical_note]) -> pygraph:
        assert self._stage == 3, "a filter before there are plans is lost"
        self._unwanted.update(notes)
        return self

    def deselect_workspace_greater_than(self, size: int) -> pygraph:
        assert self._stage == 3
        self._most = size
        return self

    def get_execution_plan_count(self) -> int:
        assert self._stage == 3
        return len(OFFERED)

    def build_plan_at_index(self, index: int) -> None:
        notes, size = OFFERED[index]
        fused = self._bias is not None
        if notes & self._unwanted or size > self._most or (fused and self._cudnn.never_fused):
            raise self._cudnn.refusal("this plan was deselected")
        self._built.add(index)

    def get_workspace_size_plan_at_index(self, index: int) -> int:
        assert index in self._built
        return OFFERED[index][1]

    def execute_plan_at_index(
        self, tensors: Mapping[Tensor, int], workspace: int, index: int, handle: Any
    ) -> None:
        assert index in self._built, "a plan that was not built"
        self._cudnn.check_handle(handle)
        assert self._cudnn.stream_of(handle) == self._cudnn.stream
        assert set(tensors) == {each for each in self._tensors if not each.virtual}
        assert all(type(each) is int and each for each in (*tensors.values(), workspace))
        if index in self._cudnn.failing:
            raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
        notes, size = OFFERED[index]
        ctypes.memset(workspace, 0xEE, size)
        self._cudnn.executed.append((self._result, index))
        rounds = notes & {_N.TENSOR_CORE, _N.DOWN_CONVERT_INPUTS}
        given = {}
        for name, tensor in self._given.items():
            numbers = tensor.numbers(tensors[tensor])
            given[name] = Value(numbers.shape, np.float64)
            given[name].write()[...] = _in_11_bits(numbers) if rounds else numbers
        out = self._compute(given)
        if self._bias is not None:
            out = out + self._bias.numbers(tensors[self._bias])
        target = self._out.array(tensors[self._out])
        if self._out.data_type is data_type.BFLOAT16:
            out = out.astype(np.float32).view(np.uint32) + 0x8000 >> 16  # halves away from 0
        target[...] = out

    def _compute(self, given: Mapping[str, Value]) -> np.ndarray:
        op = NumpyOps(np.float64).convolution(self._geometry)
        out = Value(tuple(self._out.dim), np.float64)
        if self._result == "y":
            op.forward(given["x"], given["w"], None, out=out)
        elif self._result == "x":
            op.backward_data(given["y"], given["w"], out=out)
        else:
            out.write()[...] = 0
            op.backward_params(given["y"], given["x"], add_w=out)
        found: np.ndarray = out.read()
        return found


def _in_11_bits(numbers: np.ndarray) -> np.ndarray:
    """As TF32 rounds."""
    parts, exponents = np.frexp(numbers)
    rounded: np.ndarray = np.ldexp(np.rint(np.ldexp(parts, 11)), exponents - 11)
    return rounded


class FakeCudnn(ModuleType):
    """The module.

    objects: whether handles are objects.  stream: where work is to go.
    without_plans: results that no plan computes.
    never_fused: whether no plan adds a bias.  never_mixed: whether none gives results of another
    type than its operands.  failing: plans that fail when they run.
    executed: what was computed, and by which plan.
    """

    data_type = data_type
    heur_mode = heur_mode
    numerical_note = numerical_note
    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, objects: bool = False) -> None:
        super().__init__("cudnn")
        self.objects = objects
        self.stream = STREAM
        self.without_plans: set[str] = set()
        self.never_fused = False
        self.never_mixed = False
        self.failing: set[int] = set()
        self.executed: list[tuple[str, int]] = []
        self._streams: dict[Any, int] = {}
        # 1.10 words a plan that was deselected as the graph's error, 1.27 as a wrong value
        self.refusal: type[Exception] = ValueError if objects else cudnnGraphNotSupportedError

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cudnn", self)

    def backend_version_string(self) -> str:
        return "9.28.0"

    def create_handle(self) -> Any:
        return Handle() if self.objects else 12345

    def set_stream(self, handle: Any, stream: int) -> None:
        self.check_handle(handle)
        self._streams[handle] = stream

    def stream_of(self, handle: Any) -> int | None:
        return self._streams.get(handle)

    def check_handle(self, handle: Any) -> None:
        assert isinstance(handle, Handle if self.objects else int), f"no handle: {handle!r}"

    def pygraph(self, **described: Any) -> pygraph:
        return pygraph(self, **described)
