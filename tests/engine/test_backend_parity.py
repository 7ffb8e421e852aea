"""Every backend's op classes have the constructors, methods and steps of the numpy classes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from caffepy.engine.ops.base import Ops, op
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.backend import OneDnnOps

BACKENDS: list[type[Ops]] = [OneDnnOps, CudaOps]
OPS = [name for name in dir(NumpyOps) if isinstance(getattr(NumpyOps, name), op)]


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of the parameters after self, or after ops of a constructor."""
    found = list(inspect.signature(function).parameters.values())
    return [(each.name, each.kind, each.default) for each in found]


def steps(cls: type) -> dict[str, Any]:
    """The methods of an op class that run as steps."""
    return {
        name: method
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if hasattr(method, "step_arguments")
    }


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("name", OPS)
def test_classes_of_an_op_have_equal_signatures(name: str, backend: type[Ops]) -> None:
    (reference,) = getattr(NumpyOps, name).classes
    for cls in getattr(backend, name).classes:
        assert parameters(cls.__init__) == parameters(reference.__init__)
        assert steps(cls).keys() == steps(reference).keys()
        for method_name, method in steps(reference).items():
            other = steps(cls)[method_name]
            assert parameters(other) == parameters(method), method_name
            assert other.step_arguments == method.step_arguments, method_name


def test_the_last_class_of_an_op_is_the_one_that_supports_everything() -> None:
    for name in OPS:
        assert getattr(OneDnnOps, name).classes[-1] is getattr(NumpyOps, name).classes[-1]


@pytest.mark.parametrize("name", OPS)
def test_every_op_of_a_gpu_runs_there(name: str) -> None:
    for cls in getattr(CudaOps, name).classes:
        assert cls.__module__.startswith("caffepy.engine.ops.cuda.")
