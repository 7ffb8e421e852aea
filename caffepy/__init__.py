"""caffepy: trains, tests and deploys Caffe prototxt nets.

    with caffepy.Net("deploy.prototxt", "lenet.caffemodel", phase="TEST") as net:
        probabilities = net.forward(data=images)["prob"]

    with caffepy.Solver("solver.prototxt") as solver:
        solver.solve()

`caffepy.pycaffe` has these two and all else that pycaffe has. What is named here is imported when
it is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffepy.engine.extensions import load_layers
    from caffepy.engine.pynet import Net
    from caffepy.engine.pysolver import Solver
    from caffepy.proto.errors import CaffepyError

__all__ = ["CaffepyError", "Net", "Solver", "load_layers"]
__version__ = "0.1.0"

# In a checkout the parts (engine, layers, proto, ...) are the folders beside this one; in an
# installed wheel setup.py has mapped them into this package and this adds nothing.
_root = Path(__file__).resolve().parent.parent
if __name__ == "caffepy" and (_root / "setup.py").is_file():
    __path__.append(str(_root))

_MODULES = {
    "CaffepyError": "caffepy.proto.errors",
    "Net": "caffepy.engine.pynet",
    "Solver": "caffepy.engine.pysolver",
    "load_layers": "caffepy.engine.extensions",
}

if not TYPE_CHECKING:  # a checker would take any name for one of the module's

    def __getattr__(name: str) -> object:
        """Imports one of the names above, the layer types before it. Raises: AttributeError."""
        if name not in _MODULES:
            raise AttributeError(f"module 'caffepy' has no attribute '{name}'")
        importlib.import_module("caffepy.layers")
        found = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
