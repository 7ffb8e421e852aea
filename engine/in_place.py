"""Finding layers whose gradient is wrong because a later layer changed in place what it reads.

Caffe computes such gradients without a word. Here the numbers stay Caffe's, with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer


class WiredNet(Protocol):
    """A net that knows which of its layers need a backward pass."""

    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]
    bottom_needs_backward: list[list[bool]]


def warn_of_spoilt_gradients(net: WiredNet) -> None:
    """Logs a warning for each layer whose gradient is known to be wrong, naming who spoils it."""
    for reader, spoiler, blob in _spoilt(net):
        log.warning(
            f"{reader.where}: top '{blob.name}': expected it unchanged for the gradient, but layer "
            f"'{spoiler.name}' ({spoiler.type}) changes it in place: the gradient is wrong, as in "
            f"Caffe. Give layer '{spoiler.name}' a top of another name."
        )


def _spoilt(net: WiredNet) -> Iterator[tuple[Layer, Layer, Blob]]:
    """Reader, spoiler and blob, for the first spoiler of each."""
    for index, reader in enumerate(net.layers):
        reads = reader.gradient_reads
        if not reads or not any(net.bottom_needs_backward[index]):
            continue
        read = net.tops[index][0]
        for later in range(index + 1, len(net.layers)):
            spoiler = net.layers[later]
            if reads in spoiler.spoils_in_place and any(
                blob.data.shares_memory_with(read.data) and blob is net.bottoms[later][place]
                for place, blob in enumerate(net.tops[later][: len(net.bottoms[later])])
            ):
                yield reader, spoiler, read
                break
