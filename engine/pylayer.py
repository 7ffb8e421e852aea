"""caffe.Layer: the base of the classes of Python layers, and finding the one a prototxt names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from caffepy.engine.core import layer as core
from caffepy.engine.core.errors import NetError
from caffepy.engine.pyblob import BlobVec
from caffepy.engine.pymodule import (
    TakenError,
    import_module,
    locate,
    provide_caffe,
    search_path,
)
from caffepy.engine.usercode import failure_message
from caffepy.proto.caffe_pb2 import LayerParameter, PythonParameter
from caffepy.proto.errors import did_you_mean


class Layer:
    """Base of the layers that a user writes in Python, as in pycaffe.

    A subclass defines
        setup(bottom, top)      reads param_str, checks the bottoms, adds learnable blobs
        reshape(bottom, top)    shapes the tops; called after setup and before every forward
        forward(bottom, top)    fills top[i].data
        backward(top, propagate_down, bottom)
                                overwrites bottom[i].diff where propagate_down[i], adds to
                                blobs[i].diff; needed where a gradient is
    bottom, top: lists of Blob.  propagate_down: a list of bools, one per bottom.

    param_str (and param_str_): the text from the prototxt.  phase: caffe.TRAIN or caffe.TEST.
    blobs: the learnable blobs; `blobs.add_blob(*shape)` in setup makes one of zeros.
    All of these are there from setup on.

    What caffepy has besides: a class that remembers things from pass to pass may define state(),
    which returns them as a dict of plain values and arrays, and restore(state), which takes it
    back (tuples as lists); then a resumed run goes on exactly.
    """

    type = "Python"
    blobs: BlobVec
    param_str: str
    param_str_: str
    phase: int

    def __init__(self, param: LayerParameter) -> None:
        """param: the layer's message."""


class _BuiltLayer(Layer):
    """A layer of a net, as Python code sees it: its type and its learnable blobs."""

    def __init__(self, layer: core.Layer) -> None:
        self.type = layer.type
        self.blobs = BlobVec(layer.blobs)
        self._name = layer.name

    def __repr__(self) -> str:
        return f"Layer({self._name!r}, {self.type}, {len(self.blobs)} blobs)"


def shown_layer(layer: core.Layer) -> Layer:
    """The user's own object where the layer is one, as pycaffe shows it."""
    instance = getattr(layer, "instance", None)
    return instance if isinstance(instance, Layer) else _BuiltLayer(layer)


def find_layer_class(param: PythonParameter, folders: Sequence[Path], where: str) -> type[Layer]:
    """The class that python_param names, its module imported.

    Raises: NetError where module or class is missing, or the module cannot be imported.
    """
    name = _checked_name(param.module, where)
    provide_caffe(Layer)
    try:
        module = import_module(name, folders)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            _refuse_import(name, error, where)
        _refuse_missing(param, error.name, folders, where)
    except TakenError as error:
        raise NetError(
            f"{where}: python_param.module: expected '{name}' from "
            f"'{_place(name, folders)}', got another module of that name, imported before from "
            f"'{error.file}'. Rename the file and its module in the prototxt."
        ) from None
    except (Exception, SystemExit) as error:
        _refuse_import(name, error, where)
    found = getattr(module, param.layer, None)
    if isinstance(found, type) and issubclass(found, Layer):
        return found
    _refuse_class(param.layer, module, found, where)


def refuse_python_layer(param: PythonParameter, folders: Sequence[Path], where: str) -> NoReturn:
    """Raises: NetError that says what would have been imported."""
    place = _place(param.module, folders) if _is_name(param.module) else ""
    found = f"found at '{place}'" if place else "which is not found anywhere"
    raise NetError(
        f"{where}: --no-python-layers: it would import module '{param.module}' ({found}) and run "
        f"its class '{param.layer}'. Leave the option away to run it, or take the layer out."
    )


def _checked_name(name: str, where: str) -> str:
    if _is_name(name):
        return name
    stem = re.sub(r"\.py$", "", name.replace("\\", "/").removeprefix("./"))
    better = ".".join(filter(None, stem.split("/")))
    remedy = f'Write module: "{better}".' if better else "Name the file without its ending .py."
    raise NetError(
        f"{where}: python_param.module: expected the name of a module, as in Python's `import`, "
        f"got '{name}'. {remedy}"
    )


def _is_name(name: str) -> bool:
    return all(name.split(".")) and not re.search(r"[/\\]|\.py$", name)


def _place(name: str, folders: Sequence[Path]) -> str:
    spec = locate(name, folders)
    if spec is None:
        return ""
    return str(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))


def _refuse_missing(
    param: PythonParameter, missing: str, folders: Sequence[Path], where: str
) -> NoReturn:
    entries = [entry or "." for entry in search_path(folders)]
    package, _, last = missing.rpartition(".")
    if package:
        spec = locate(package, folders)
        entries = list((spec and spec.submodule_search_locations) or entries)
    tried = dict.fromkeys(str(Path(entry).resolve()) for entry in entries)
    beside = {path.stem for folder in entries for path in sorted(Path(folder).glob("*.py"))}
    remedy = did_you_mean(last, beside) or (
        " Put it beside the prototxt, or its folder into the environment variable PYTHONPATH."
    )
    raise NetError(
        f"{where}: python_param.module: expected a module '{param.module}', got none: there is no "
        f"'{missing}' in {', '.join(map(repr, tried))}.{remedy}"
    ) from None


def _refuse_import(name: str, error: BaseException, where: str) -> NoReturn:
    remedy = "Correct the module."
    if isinstance(error, ModuleNotFoundError):
        remedy = "Install what it needs, or correct the import."
    what = f"{where}: module '{name}' cannot be imported"
    raise NetError(failure_message(what, error, remedy)) from error


def _refuse_class(name: str, module: ModuleType, found: object, where: str) -> NoReturn:
    file = getattr(module, "__file__", None) or "no file"
    has = [
        key
        for key, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Layer) and one is not Layer
    ]
    if found is None:
        got = "none"
    elif "Layer" in [base.__name__ for base in getattr(found, "__mro__", ())]:
        got = "one derived from the Layer of another caffe, which was imported before"
    elif isinstance(found, type):
        got = "a class that is not"
    else:
        got = f"a {type(found).__name__}"
    listed = f"its layers: {', '.join(has)}" if has else "it has no such class"
    raise NetError(
        f"{where}: python_param.layer: expected a class '{name}' derived from caffe.Layer in "
        f"module '{module.__name__}' ('{file}'), got {got}; {listed}."
        f"{did_you_mean(name, has) or ' Correct the name, or the module.'}"
    )
