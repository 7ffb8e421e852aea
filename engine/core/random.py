"""Random numbers as a function of position: the same words whatever ran before.

Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox4x64-10).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator

import numpy as np

Part = tuple[int, np.ndarray]  # the number of the first, and the numbers
PART = 1 << 16  # numbers of a part: what it takes to make them stays in the cache
PAGE = 1 << 9  # words: 4 KB


def seed_from_system() -> int:
    """A seed from 0 up that fits into random_seed, another one each time."""
    return int.from_bytes(os.urandom(4), "little") >> 1


class Counter:
    """How often a layer ran forward: the position of its random numbers. Ops hold the object, so
    that a recorded step sees the count of the pass it runs in."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: int = 0) -> None:
        self.value = value


class Stream:
    """The random numbers of one purpose in one layer.

    The Philox key is the blake2b hash of (seed, layer, purpose, rank); `position` (the layer's
    count of forward passes, or an epoch) stands in the third word of the 256-bit counter, and words
    are numbered by the first. Only raw words are taken from numpy, whose distributions may change
    between versions; numpy counts up before it draws, so block 0 belongs to counter 1.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int, layer: str, purpose: str, rank: int = 0) -> None:
        text = f"{seed}\0{layer}\0{purpose}\0{rank}".encode()
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._key = np.array(struct.unpack("<2Q", digest), np.uint64)

    @property
    def key(self) -> tuple[int, int]:
        """The Philox key, for generators on other devices."""
        return int(self._key[0]), int(self._key[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def words(self, position: int, count: int, start: int = 0) -> np.ndarray:
        """(count,) uint64 raw words, those from number `start` on."""
        skipped = start % 4  # a block of the generator is four words
        counter = np.array([start // 4, 0, position, 0], np.uint64)
        generator = np.random.Philox(key=self._key, counter=counter)
        return generator.random_raw(skipped + count)[skipped:]

    def blocks(self, first: int, count: int) -> np.ndarray:
        """(count, 4) uint64: the words at position 0 by fours, from four number `first` on; for
        things that are numbered, such as the samples of a data set."""
        counter = np.array([first, 0, 0, 0], np.uint64)
        words: np.ndarray = np.random.Philox(key=self._key, counter=counter).random_raw(4 * count)
        return words.reshape(count, 4)

    def uniform_blocks(self, first: int, count: int) -> np.ndarray:
        """(count, 4) float64 in [0, 1): `blocks` as multiples of 2^-53."""
        uniform: np.ndarray = (self.blocks(first, count) >> np.uint64(11)) * 2.0**-53
        return uniform

    def halves(self, position: int, count: int) -> np.ndarray:
        """(count,) uint32, the low and high halves of words in turn."""
        return self.words(position, (count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]

    def halves_parts(self, position: int, count: int, words: np.ndarray) -> Iterator[Part]:
        """The numbers of `halves` in stretches, each of them in `words`: (n,) uint64 memory.

        Raw words come by the page, so that nothing larger is fetched from the system.
        """
        counter = np.array([0, 0, position, 0], np.uint64)
        generator = np.random.Philox(key=self._key, counter=counter)
        memory = words.view("<u8")
        for start in range(0, count, 2 * memory.size):
            part = min(count - start, 2 * memory.size)
            end = (part + 1) // 2
            for place in range(0, end, PAGE):
                drawn = generator.random_raw(min(PAGE, end - place))
                memory[place : place + PAGE][: drawn.size] = drawn
            yield start, memory.view("<u4")[:part]

    def uniform(self, position: int, count: int, start: int = 0) -> np.ndarray:
        """(count,) float64 in [0, 1), multiples of 2^-53, those from number `start` on."""
        uniform: np.ndarray = (self.words(position, count, start) >> np.uint64(11)) * 2.0**-53
        return uniform

    def uniform_parts(self, position: int, count: int) -> Iterator[Part]:
        """The numbers of `uniform` in stretches that take little memory."""
        for start in range(0, count, PART):
            yield start, self.uniform(position, min(PART, count - start), start)

    def gaussian_parts(self, position: int, count: int) -> Iterator[Part]:
        """(count,) float64 of mean 0 and deviation 1 (Box-Muller), in stretches."""
        pairs = (count + 1) // 2
        for start, first in self.uniform_parts(position, pairs):
            radius = np.sqrt(-2.0 * np.log1p(-first))  # 1 - u is in (0, 1]
            angle = 2.0 * np.pi * self.uniform(position, len(radius), pairs + start)
            yield start, radius * np.cos(angle)
            yield pairs + start, (radius * np.sin(angle))[: count - pairs - start]

    def integers(self, position: int, count: int, bound: int) -> np.ndarray:
        """(count,) int64 in [0, bound)."""
        return (self.uniform(position, count) * bound).astype(np.int64)

    def permutation(self, position: int, count: int) -> np.ndarray:
        """(count,) int64: 0 .. count-1 shuffled, the argsort of raw words."""
        return np.argsort(self.words(position, count), kind="stable")
