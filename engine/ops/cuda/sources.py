"""The CUDA sources of this package: one `.cu` file per family of kernels."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "kernels"
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


@functools.cache
def source(family: str) -> str:
    """The text of `<family>.cu`, with our headers in place of their `#include "..."` lines."""

    def included(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 2
        header = (FOLDER / match[1]).read_text(encoding="utf-8")
        return f'#line 1 "{match[1]}"\n{header}#line {line} "{family}.cu"'

    text = (FOLDER / f"{family}.cu").read_text(encoding="utf-8")
    return _INCLUDE.sub(included, text)


def families() -> Iterator[str]:
    """The names of all families."""
    return (path.stem for path in sorted(FOLDER.glob("*.cu")))
