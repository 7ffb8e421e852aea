"""Keys: names made unique, since nothing forbids two layers of one name."""

from __future__ import annotations


class Keys:
    """Gives every name a key of its own: the name, for the second of a name `name#2`, and so on.

    Names taken in the same order, in a net and in a file, get the same keys.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """The key of the next thing called `name`."""
        key, number = name, 1
        while key in self._taken:
            number += 1
            key = f"{name}#{number}"
        self._taken.add(key)
        return key
