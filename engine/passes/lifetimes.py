"""Lifetimes: which gradients of a net nobody reads any more, and whose memory others may take."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Value

Blobs = Sequence[Sequence[Blob]]  # per layer
SMALLEST = 1 << 18  # bytes; smaller diffs are kept: they cost little, and tell where nan began


def passing_diffs(bottoms: Blobs, tops: Blobs, kept: Collection[int]) -> list[list[Value]]:
    """Per layer, the diffs of its tops that are done with once it has run backward.

    That is each large one that is no memory of its bottoms' too: a blob has one reader (Split sees
    to it), which writes the diff, and its maker is the last to read it. kept: the `storage_id` of
    diffs that last, those of losses.
    """
    passing = []
    for bottom, top in zip(bottoms, tops, strict=True):
        lasting = {blob.diff.storage_id for blob in bottom} | set(kept)
        own = {blob.diff.storage_id: blob.diff for blob in top}
        passing.append(
            [
                diff
                for key, diff in own.items()
                if key not in lasting and diff.count * diff.dtype.itemsize >= SMALLEST
            ]
        )
    return passing


def borrow(values: Sequence[Sequence[Value]], pool: Pool) -> None:
    """Lets values take turns in the memory of a pool."""
    for value in (value for group in values for value in group):
        value.borrow(pool)


def releasing(values: Sequence[Value], layer: str) -> Step:
    """The step that gives the memory of values back."""
    run, given = functools.partial(_release, values), {"values": values}
    return Step(run, (), (), layer=layer, name="release", method="release", arguments=given)


def _release(values: Sequence[Value]) -> None:
    for value in values:
        value.release()
