"""How fast a training goes."""

from __future__ import annotations

import time
from collections.abc import Callable

from caffepy.engine.net import Net
from caffepy.engine.samples import first_batch


def images_per_iteration(net: Net, iter_size: int) -> int | None:
    """The samples that one iteration takes in; None where no layer gives any."""
    layer, batch = first_batch(net)
    return None if layer is None else batch * iter_size


class Speed:
    """Iterations per second between two looks. clock: gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last: tuple[float, int] | None = None

    def start(self, iteration: int) -> None:
        """The clock begins to run."""
        self._last = self._clock(), iteration

    def take(self, iteration: int) -> float | None:
        """Iterations per second since the last look; None where none has passed since."""
        now = self._clock()
        last, self._last = self._last, (now, iteration)
        if last is None or iteration <= last[1] or now <= last[0]:
            return None
        return (iteration - last[1]) / (now - last[0])
