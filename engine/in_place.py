"""Finding layers that compute something wrong because another one changed in place what they read.

Caffe does so without a word. Here the numbers stay Caffe's, with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer

# By what a layer's backward reads of its top: which changes of a later layer in place spoil it.
# Most changes are where the gradient that comes down is not 0; "values without gradient" are those
# where it is 0, which only a sum over elements takes notice of. "Positive" ones have no others.
SPOILS = {
    "all values": {"values", "negative values", "values without gradient"},
    "values": {"values", "negative values"},
    "positive values": {"values"},
    "signs": {"signs", "negative signs"},
    "positive signs": {"signs"},
}


class WiredNet(Protocol):
    """A net that knows which of its layers need a backward pass."""

    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]
    bottom_needs_backward: list[list[bool]]


def warn_of_changes_in_place(net: WiredNet) -> None:
    """Logs a warning for each layer that is known, or likely, to compute something wrong."""
    _warn_of_spoilt_gradients(net)
    _warn_of_changed_copies(net)


def changes_later(net: WiredNet, place: int, blob: Blob) -> bool:
    """Whether a layer after that of index `place` works in place on the memory of `blob`."""
    return any(
        top is bottom and top.data.shares_memory_with(blob.data)
        for bottoms, tops in zip(net.bottoms[place + 1 :], net.tops[place + 1 :], strict=True)
        for bottom, top in zip(bottoms, tops, strict=False)
    )


def _warn_of_spoilt_gradients(net: WiredNet) -> None:
    """Logs a warning for each layer whose gradient is known to be wrong, naming who spoils it."""
    for reader, spoiler, blob in _spoilt(net):
        log.warning(
            f"{reader.where}: top '{blob.name}': expected it unchanged for the gradient, but layer "
            f"'{spoiler.name}' ({spoiler.type}) changes it in place: the gradient is wrong, as in "
            f"Caffe. Give layer '{spoiler.name}' a top of another name."
        )


def _warn_of_changed_copies(net: WiredNet) -> None:
    """Logs a warning for each layer that works in place on a view (of a Reshape, say) of a blob
    that other layers read: to them too it is changed, since they share its memory."""
    for index, spoiler in enumerate(net.layers):
        for blob in net.tops[index]:
            if not any(blob is other for other in net.bottoms[index]):
                continue
            for place, name in _other_readers(net, index, blob):
                effect = (
                    "it reads the changed numbers" if place > index else "its gradient may be wrong"
                )
                log.warning(
                    f"{net.layers[place].where}: bottom '{name}': expected it unchanged, but layer "
                    f"'{spoiler.name}' ({spoiler.type}) changes '{blob.name}', the same memory, in "
                    f"place: {effect}, as in Caffe. Give layer '{spoiler.name}' a top of another "
                    "name."
                )


def _other_readers(net: WiredNet, index: int, changed: Blob) -> Iterator[tuple[int, str]]:
    """The layers, and the names of their bottoms, that read the memory of `changed` other than by
    way of it; layer `index` changes it in place."""
    own = {changed.name}  # and what is made of it after the change
    for place, (bottoms, tops) in enumerate(zip(net.bottoms, net.tops, strict=True)):
        shared = [blob for blob in bottoms if blob.data.shares_memory_with(changed.data)]
        hands_on = [blob.name for blob in tops if blob.data.shares_memory_with(changed.data)]
        if place == index:
            shared = [blob for blob in shared if blob is not changed]
        elif place > index and any(blob.name in own for blob in shared):
            own.update(hands_on)
            continue
        elif hands_on:  # a view, or an earlier change in place
            continue
        if shared and (place > index or any(net.bottom_needs_backward[place])):
            yield place, net.layers[place].param.bottom[bottoms.index(shared[0])]


def _spoilt(net: WiredNet) -> Iterator[tuple[Layer, Layer, Blob]]:
    """Reader, spoiler and blob, for the first spoiler of each."""
    for index, reader in enumerate(net.layers):
        reads = reader.gradient_reads
        if not reads or not any(net.bottom_needs_backward[index]):
            continue
        read = net.tops[index][0]
        spoils = SPOILS[reads]
        for later in range(index + 1, len(net.layers)):
            spoiler = net.layers[later]
            if spoils & set(spoiler.spoils_in_place) and any(
                blob.data.shares_memory_with(read.data) and blob is net.bottoms[later][place]
                for place, blob in enumerate(net.tops[later][: len(net.bottoms[later])])
            ):
                yield reader, spoiler, read
                break
