"""caffepy: trains, tests and deploys Caffe prototxt nets."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the parts (engine, layers, proto, ...) are the folders beside this one; in an
# installed wheel setup.py has mapped them into this package and this adds nothing.
_root = Path(__file__).resolve().parent.parent
if __name__ == "caffepy" and (_root / "setup.py").is_file():
    __path__.append(str(_root))
