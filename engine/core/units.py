"""Numbers as messages show them."""

from __future__ import annotations


def size(nbytes: float) -> str:
    """`1.5 GiB`"""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while nbytes >= 1024 and len(units) > 1:
        nbytes /= 1024
        del units[0]
    return f"{nbytes:.{0 if units[0] == 'bytes' else 1}f} {units[0]}"
