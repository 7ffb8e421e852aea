"""Which lines of Python ask for a large piece of memory, though they may give it back at once."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

LARGE = 4096  # bytes
HEADERS = 512  # bytes: of array objects and other small ones that a line holds besides


def large_allocations(run: Callable[[], None]) -> Counter[str]:
    """Calls `run`; how often each line (file:line function), while it ran, held more than LARGE
    bytes more than before it, in arrays or other objects of Python.

    Lines of threads that begin meanwhile are looked at as well. Where two threads run, a line may
    be named in place of the other's.
    """
    found: Counter[str] = Counter()
    line, held = "", 0  # that runs, and what was held when it began

    def begin(frame: FrameType | None) -> None:
        nonlocal line, held
        most = tracemalloc.get_traced_memory()[1]
        if line and most - held > LARGE + HEADERS:
            found[line] += 1
        code = frame.f_code if frame else None
        line = f"{code.co_filename}:{frame.f_lineno} {code.co_name}" if frame and code else ""
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        begin(frame.f_back if event == "return" else frame)
        return trace

    kept, kept_of_threads = sys.gettrace(), threading.gettrace()
    tracemalloc.start()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(kept)
        threading.settrace(kept_of_threads)  # type: ignore[arg-type]
        tracemalloc.stop()
    return found
