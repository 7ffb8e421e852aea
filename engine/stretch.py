"""Stretch: values of several parameters side by side in one piece of memory."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.aligned import ALIGNMENT
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.value import Value


class Stretch:
    """Values, each in its home layout, in one flat array that elementwise ops see as one value.

    Between them, and where their layouts have padding, lie zeros. Making it moves the values there,
    contents kept; their other memory is given back. Nobody may hold a lease of one then.

    values: of one dtype, no two of the same memory, their homes in one space.  whole: all of it,
    from `open` to `close`.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = list(values)
        dtype = self.values[0].dtype
        unit = ALIGNMENT // dtype.itemsize
        starts, sizes, end = [], [], 0
        for value in self.values:
            starts.append(end)
            sizes.append(value.home.bytes(value.shape, dtype) // dtype.itemsize)
            end += -(-sizes[-1] // unit) * unit
        home = self.values[0].home
        self._flat = PLAIN if home.space is None else home
        memory = self._flat.zeros(end, dtype)
        self.whole = Value((end,), dtype)
        self.whole.prefer(self._flat)
        self.whole.move_to(memory, self._flat)
        for value, start, size in zip(self.values, starts, sizes, strict=True):
            value.move_to(memory[start : start + size], value.home)
        homes = [value.home for value in self.values]
        self._places = [
            (value, home, (home, home.key(value.shape)), value.read(home))
            for value, home in zip(self.values, homes, strict=True)
        ]

    def open(self, *, change: bool) -> bool:
        """Brings every value's content into `whole`; False where one of them lies elsewhere now, as
        after it was shared with another net.

        change: `whole` is going to be changed, and the values with it.
        """
        for value, home, key, buffer in self._places:
            if value.retake(key, buffer, change=change):
                continue
            found = value.modify(home) if change else value.read(home)
            if found is not buffer:
                return False
        self.whole.write(self._flat)
        return True

    @property
    def is_there(self) -> bool:
        """Whether all values lie in it, and nobody holds an array of one."""
        return all(
            value.holds(key, buffer) and not value.leased for value, _, key, buffer in self._places
        )

    def close(self) -> None:
        """Ends a change: what Python code holds of the values shows it."""
        self.whole.read(self._flat)  # into its memory, wherever an op wrote it
        for value in self.values:
            if value.leased:
                value.settle()
