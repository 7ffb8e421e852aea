"""Hooks: what others do before and after each layer of a net runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

Hook = Callable[[int], object]


@dataclass
class Hooks:
    """Functions that a net calls with a layer's index, each list in its order.

    Backward calls them for the layers that need no backward too, as Caffe does. While there are
    any, the net runs layer by layer.
    """

    before_forward: list[Hook] = field(default_factory=list)
    after_forward: list[Hook] = field(default_factory=list)
    before_backward: list[Hook] = field(default_factory=list)
    after_backward: list[Hook] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.before_forward or self.after_forward or self.before_backward or self.after_backward
        )

    def around_forward(self, indices: Iterable[int]) -> Iterator[int]:
        """The indices, with the hooks called around what is done with each."""
        return _around(self.before_forward, indices, self.after_forward)

    def around_backward(self, indices: Iterable[int]) -> Iterator[int]:
        """The indices, with the hooks called around what is done with each."""
        return _around(self.before_backward, indices, self.after_backward)


def _around(before: list[Hook], indices: Iterable[int], after: list[Hook]) -> Iterator[int]:
    for index in indices:
        for hook in before:
            hook(index)
        yield index
        for hook in after:
            hook(index)
