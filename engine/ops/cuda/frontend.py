"""cuDNN through NVIDIA's Python frontend. The only module that imports cudnn.

Convolutions only: the frontend has no pooling, and its batch norm has other running statistics than
Caffe's, so that both are kernels of our own.

Sources: NVIDIA's cuDNN frontend documentation, and the sources of its versions 1.10, 1.27 and 1.32,
which differ in what a handle is, and in what of a plan's errors is which exception.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.port import Convolution, ConvolutionPlan

WORKSPACE_BYTES = 512 << 20  # that a plan may take, which all ops use in turn
PACKAGES = "caffepy[cuda12] or caffepy[cuda13]"


def begin(stream: int) -> Frontend | str:
    """cuDNN on the current device, with all its work in the stream of that address; where that is
    not possible, the reason and what to do."""
    try:
        cudnn = importlib.import_module("cudnn")
    except ModuleNotFoundError as error:
        if error.name != "cudnn":
            return f"cuDNN does not load: {error}. Install {PACKAGES}."
        return f"nvidia-cudnn-frontend is not installed. Install {PACKAGES}."
    except Exception as error:  # it looks for libraries meanwhile, and asserts what it finds
        return f"cuDNN does not load: {error}. Install {PACKAGES}."
    try:
        return Frontend(cudnn, stream)
    except Exception as error:  # of several kinds, among them those of a library that is missing
        return f"cuDNN does not start: {error}. Install {PACKAGES}."


class Frontend:
    """cuDNN on the current device: a `Dnn`. cudnn: the module.  stream: an address.

    It lasts as long as the process: CUDA may be gone when Python ends.
    """

    def __init__(self, cudnn: Any, stream: int) -> None:
        self._cudnn = cudnn
        self.version = str(cudnn.backend_version_string())
        self._handle = cudnn.create_handle()
        cudnn.set_stream(handle=self._handle, stream=stream)
        # What building says where there is no such plan: the frontend's own error where cuDNN has
        # none, RuntimeError where it fails, ValueError where the plan was deselected.
        self._refusals = (cudnn.cudnnGraphNotSupportedError, RuntimeError, ValueError)

    def plans(self, convolution: Convolution, most: int) -> Sequence[ConvolutionPlan]:
        """Ways to compute it, those that cuDNN takes for the fastest first, `most` at most."""
        try:
            graph, tensors = self._graph(convolution)
        except self._refusals:
            return []
        found: list[ConvolutionPlan] = []
        for index in range(graph.get_execution_plan_count()):
            if len(found) == most:
                break
            try:
                graph.build_plan_at_index(index)
                size = graph.get_workspace_size_plan_at_index(index)
            except self._refusals:
                continue
            found.append(_Plan(graph, index, tensors, size, self._handle, self._refusals))
        return found

    def _graph(self, convolution: Convolution) -> tuple[Any, list[Any]]:
        """A graph whose plans can be built, and its tensors, in the order of the operands."""
        cudnn = self._cudnn
        kinds = cudnn.data_type
        kind = {"fp16": kinds.HALF, "bf16": kinds.BFLOAT16}.get(convolution.precision, kinds.FLOAT)
        graph = cudnn.pygraph(
            io_data_type=kind,
            intermediate_data_type=kinds.FLOAT,
            compute_data_type=kinds.FLOAT,
            handle=self._handle,
        )

        def tensor(name: str, shape: Sequence[int], kind: Any) -> Any:
            strides = _strides(shape)
            return graph.tensor(name=name, dim=list(shape), stride=strides, data_type=kind)

        shapes = {"x": convolution.x, "w": convolution.w, "y": convolution.y}
        tensors = {
            name: tensor(name, shape, kind)
            for name, shape in shapes.items()
            if name != convolution.result
        }
        windows = {
            "pre_padding": list(convolution.pad),
            "post_padding": list(convolution.pad),
            "stride": list(convolution.stride),
            "dilation": list(convolution.dilation),
        }
        if convolution.result == "y":
            out = graph.conv_fprop(image=tensors["x"], weight=tensors["w"], **windows)
        elif convolution.result == "x":
            out = graph.conv_dgrad(loss=tensors["y"], filter=tensors["w"], **windows)
        else:
            out = graph.conv_wgrad(image=tensors["x"], loss=tensors["y"], **windows)
        if convolution.bias:  # what is fused behind the convolution begins here
            channels = (1, convolution.y[1]) + (1,) * (len(convolution.y) - 2)
            tensors["b"] = tensor("b", channels, kinds.FLOAT)
            out = graph.bias(input=out, bias=tensors["b"])
        shape = shapes[convolution.result]
        out.set_output(True).set_data_type(kinds.FLOAT if convolution.float_out else kind)
        out.set_dim(list(shape)).set_stride(_strides(shape))
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        if notes := self._unwanted(convolution):
            graph.deselect_numeric_notes(notes)
        graph.deselect_workspace_greater_than(WORKSPACE_BYTES)
        return graph, [*tensors.values(), out]

    def _unwanted(self, convolution: Convolution) -> list[Any]:
        """What plans must not do."""
        notes = self._cudnn.numerical_note
        unwanted = []
        if convolution.precision == "fp32":
            unwanted += [notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS, notes.WINOGRAD, notes.FFT]
        if convolution.repeatable:
            unwanted.append(notes.NONDETERMINISTIC)
        return unwanted


class _Plan:
    """One of the plans of a graph. tensors: the graph's, in the order of the operands."""

    def __init__(
        self,
        graph: Any,
        index: int,
        tensors: Sequence[Any],
        workspace: int,
        handle: Any,
        refusals: tuple[type[Exception], ...],
    ) -> None:
        self.workspace = workspace
        self._graph = graph
        self._index = index
        self._tensors = tensors
        self._handle = handle
        self._refusals = refusals

    def execute(self, addresses: Sequence[int], workspace: int) -> None:
        """Queues the work."""
        given = dict(zip(self._tensors, addresses, strict=True))
        try:
            self._graph.execute_plan_at_index(
                given, workspace, index=self._index, handle=self._handle
            )
        except self._refusals as error:
            raise DeviceError(
                f"cuDNN: a convolution: expected success, got {error}. Report this, with the net."
            ) from error


def _strides(shape: Sequence[int]) -> list[int]:
    """Elements from one to the next along each axis, as values lie: in C order."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
