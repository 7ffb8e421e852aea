"""Memory that the ops of a backend on a GPU use in turn."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffepy.engine.core.value import Value


class Workspace:
    """Values that ops write and read again within one step.

    What an op needs it says when it is built, so that there is one value for all ops by the time
    that the first of them runs. Values that later needs make too small stay: recorded work has
    their addresses. Each is twice the last one at least, so all of them take less than the last.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._needs: dict[str, int] = {}
        self._dtypes: dict[str, Any] = {}
        self._values: dict[str, list[Value]] = {}

    def reserve(self, name: str, count: int, dtype: Any = None) -> None:
        """`take` of that name shall give `count` elements at least, of the backend's dtype where no
        other is given; always the same for a name."""
        self._dtypes[name] = dtype or self._dtype
        self._needs[name] = max(count, self._needs.get(name, 0))

    @property
    def reserved_bytes(self) -> int:
        """What all of it takes, by what ops have said so far."""
        return sum(
            count * np.dtype(self._dtypes[name]).itemsize for name, count in self._needs.items()
        )

    def take(self, name: str) -> Value:
        """The value of that name, content undefined, until the next step."""
        values = self._values.setdefault(name, [])
        if not values:
            values.append(Value((self._needs[name],), self._dtypes[name]))
        elif values[-1].count < self._needs[name]:
            count = max(self._needs[name], 2 * values[-1].count)
            values.append(Value((count,), self._dtypes[name]))
        return values[-1]
