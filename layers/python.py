"""Python: a layer that the user has written as a Python class."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from caffepy.engine import pylayer, usercode
from caffepy.engine.core import log
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.pyblob import Blob, BlobVec

T = TypeVar("T")

NEEDED = ("setup", "reshape", "forward")
CALLED_AS = {
    "__init__": "__init__(param)",
    "setup": "setup(bottom, top)",
    "reshape": "reshape(bottom, top)",
    "forward": "forward(bottom, top)",
    "backward": "backward(top, propagate_down, bottom)",
    "state": "state()",
    "restore": "restore(state)",
}


@register_layer("Python")
class PythonLayer(Layer):
    """An instance of a class derived from caffe.Layer (engine/pylayer.py), called as pycaffe does.

    bottom, top: as many as the class takes   blobs: those that its setup adds
    python_param: module: looked for in sys.path (PYTHONPATH first), then the working directory,
    the solver's and the net's folder, then Python's library; layer: the class; param_str (''): text
    handed to it; share_in_parallel (false): accepted, one process runs one of each layer

    As in Caffe its reshape runs before every forward; a loss needs its `loss_weight: 1` in the
    prototxt, and its backward multiplies by top[0].diff where other weights are to count.
    numpy's warnings are as the module has set them in setup, not as ops need them.

    Raises: NetError where module or class are missing or cannot be used, and with the class's own
    traceback where its code fails.
    Differs: what the class raises ends the run with a message and not the process with a signal; a
    class without setup, reshape or forward is refused when the net is built.
    Source: Caffe's layer catalogue, Python.

    Example: x (2, 3) -> y (2, 3)
        layer { name: "y" type: "Python" bottom: "x" top: "y"
          python_param { module: "double" layer: "Double" param_str: "{'factor': 2}" } }
    """

    bottoms = (0, None)
    tops = (0, None)
    in_place_allowed = True
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.python_param
        cls = pylayer.find_layer_class(param, self.context.folders, self.where)
        missing = [name for name in NEEDED if not callable(getattr(cls, name, None))]
        if missing:
            self.error(
                f"class '{cls.__name__}': expected the methods {', '.join(NEEDED)}, got no "
                f"{' and no '.join(missing)}. Define "
                f"{' and '.join(CALLED_AS[name] for name in missing)}, with `pass` where there is "
                "nothing to do."
            )
        self._class = cls
        self.multiply_adds = None
        self._remembers = all(callable(getattr(cls, name, None)) for name in ("state", "restore"))
        self._gap_is_told = False
        self._bottom = [Blob(blob) for blob in bottom]
        self._top = [Blob(blob) for blob in top]
        self._blob_shapes: list[Shape] | None = None  # once set-up is over
        self._object: Any = self._run("__init__", self._make)
        self._run("setup", lambda: self._object.setup(self._bottom, self._top))
        self._numpy_errors = np.geterr()

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        self._call("reshape", self._bottom, self._top)
        if self._blob_shapes is None:
            self._blob_shapes = [blob.shape for blob in self.blobs]
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self._call("forward", self._bottom, self._top)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Raises: NetError where the class has no backward."""
        if not callable(getattr(self._class, "backward", None)):
            self.error(
                f"class '{self._class.__name__}': a gradient is needed, but it has no backward. "
                f"Define {CALLED_AS['backward']}, or set `propagate_down: false`."
            )
        self._call("backward", self._top, list(propagate_down), self._bottom)

    def state(self) -> dict[str, Any]:
        """What the class's state() gives. Raises: NetError where a snapshot cannot hold it."""
        if not self._remembers:
            if not self._gap_is_told:
                log.info(
                    f"Layer {self.name}: class '{self._class.__name__}' has no state() and "
                    "restore(state): exact resume does not cover what it remembers between passes."
                )
            self._gap_is_told = True
            return {}
        state = self._call("state")
        unfit = _unfit(state) if isinstance(state, dict) else f"a {type(state).__name__}"
        if unfit is not None:
            self.error(
                f"class '{self._class.__name__}': state: expected a dict of plain values, lists, "
                f"dicts with names as keys and numpy arrays of numbers, got {unfit}. Return what "
                "the object is made of."
            )
        return {"of_class": copy.deepcopy(state)}  # the object goes on changing its own

    def restore(self, state: dict[str, Any]) -> None:
        if self._remembers:
            self._call("restore", state["of_class"])

    @property
    def instance(self) -> pylayer.Layer:
        """The object of the user's class."""
        made: pylayer.Layer = self._object
        return made

    # ---- running the user's code

    def _make(self) -> pylayer.Layer:
        made = self._class(self.param)
        made.blobs = BlobVec(self.blobs, self._add_blob)
        made.param_str = made.param_str_ = self.param.python_param.param_str
        made.phase = self.context.phase
        return made

    def _add_blob(self, shape: Shape) -> None:
        if self._blob_shapes is not None:
            raise RuntimeError(
                f"add_blob{shape}: the net takes a layer's learnable blobs while it is built. Call "
                "add_blob in setup."
            )
        self.add_parameter(shape)

    def _call(self, method: str, *arguments: Any) -> Any:
        with np.errstate(**self._numpy_errors):
            result = self._run(method, lambda: getattr(self._object, method)(*arguments))
        shapes = self._blob_shapes
        if shapes is not None and [blob.shape for blob in self.blobs] != shapes:
            self.error(
                f"class '{self._class.__name__}': {method}: expected the learnable blobs to keep "
                f"their shapes {shapes}, got {[blob.shape for blob in self.blobs]}. Give them "
                "their shapes in setup."
            )
        return result

    def _run(self, method: str, code: Callable[[], T]) -> T:
        """Runs code of the user's. Raises: NetError with its traceback."""
        try:
            return code()
        except (Exception, SystemExit) as error:
            self._refuse(method, error)

    def _refuse(self, method: str, error: BaseException) -> NoReturn:
        name = self._class.__name__
        if isinstance(error, SystemExit):
            remedy = "A layer cannot end the run: raise an exception that says why instead."
        elif not usercode.user_traceback(error):
            remedy = f"It is called as {CALLED_AS[method]}."
        else:
            remedy = "Correct it there."
        what = f"{self.where}: {name}.{method} failed"
        raise NetError(usercode.failure_message(what, error, remedy)) from error


class RefusedPythonLayer(PythonLayer):
    """What stands for Python layers under --no-python-layers."""

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError."""
        pylayer.refuse_python_layer(self.param.python_param, self.context.folders, self.where)


def _unfit(state: Any) -> str | None:
    """What in a class's state no snapshot can hold; None where all is well."""
    if isinstance(state, np.ndarray | np.generic):
        return f"an array of {state.dtype}" if state.dtype.hasobject else None
    if isinstance(state, dict):
        odd = next((key for key in state if not isinstance(key, str)), None)
        if odd is not None:
            return f"the key {odd!r}"
        return _unfit(list(state.values()))
    if isinstance(state, list | tuple):
        return next(filter(None, map(_unfit, state)), None)
    known = state is None or isinstance(state, str | int | float | bytes)
    return None if known else f"a {type(state).__name__}"
