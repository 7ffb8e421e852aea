"""What Python code must not copy: objects that stand for the memory of a net."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class Uncopied:
    """Base of what `copy`, `deepcopy` and `pickle` refuse, as they do pycaffe's objects."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Raises: TypeError."""
        raise TypeError(
            f"{type(self).__name__}: expected an object that can be copied or pickled, got one "
            "that stands for memory, threads and files of this process. Copy arrays "
            "(blob.data.copy()), or save the weights and open another net with them."
        )
