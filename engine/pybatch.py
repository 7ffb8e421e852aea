"""Arrays that are given to a net: put into its blobs, any number of samples cut into batches, and
what batches gave joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.pyblob import Blob

Arrays = dict[str, np.ndarray]


def fill(
    blobs: Mapping[str, Blob], part: str, given: Mapping[str, Any], names: Sequence[str], where: str
) -> None:
    """Copies arrays into blobs.

    part: data or diff.  names: the blobs that need an array: inputs for data, outputs for diffs.
    where: the net, for messages.

    Raises: NetError where some are missing or surplus; ShapeError where one does not fit;
    TypeError where one is not made of numbers.
    """
    if not given:
        return
    if set(given) != set(names):
        raise NetError(
            f"{where}: expected a {part} array for each of its "
            f"{'inputs' if part == 'data' else 'outputs'} ({', '.join(names) or 'it has none'}) or "
            f"for none, got {', '.join(given)}. Correct the names of the arguments."
        )
    where = f"{where}: {part} for blob"
    arrays = {name: _numbers(array, f"{where} '{name}'") for name, array in given.items()}
    for name, array in arrays.items():
        if array.shape[:1] != blobs[name].shape[:1]:
            _refuse_shape(name, blobs[name], array, where)
    for name, array in arrays.items():
        try:
            getattr(blobs[name], part)[...] = array
        except ValueError:
            _refuse_shape(name, blobs[name], array, where)


def batches(blobs: Mapping[str, Any], size: int) -> Iterator[Arrays]:
    """The arrays, first axis cut into pieces of `size`; the last one is filled up with zeros.

    Without any array, one empty batch. Raises: ShapeError where arrays differ in samples.
    """
    arrays = {name: np.asarray(blob) for name, blob in blobs.items()}
    if not arrays:
        yield {}
        return
    for start in range(0, samples(arrays) or 0, size):
        pieces = {name: array[start : start + size] for name, array in arrays.items()}
        yield {name: _filled_up(piece, size) for name, piece in pieces.items()}


def samples(blobs: Mapping[str, Any]) -> int | None:
    """How many samples each of the arrays has; None without any.

    Raises: ShapeError where they do not agree on one number above 0.
    """
    counts = {name: len(blob) if np.ndim(blob) else 0 for name, blob in blobs.items()}
    if not counts:
        return None
    if len(set(counts.values())) > 1 or 0 in counts.values():
        told = ", ".join(f"'{name}' {np.shape(blob)}" for name, blob in blobs.items())
        raise ShapeError(
            f"arrays for several batches: expected the same number of samples on the first axis of "
            f"each, 1 or more, got shapes {told}. Make them agree."
        )
    return next(iter(counts.values()))


def joined(results: Sequence[Arrays], size: int, count: int | None) -> Arrays:
    """What passes over batches of `size` gave, joined on the first axis.

    count: the samples that were given; what belongs to those that filled the last batch up is left
    out. None: nothing was given.

    Raises: ShapeError where a result is no array of samples.
    """
    pad = 0 if count is None else len(results) * size - count
    together: Arrays = {}
    for name, first in results[0].items():
        if not first.ndim:
            raise ShapeError(
                f"blob '{name}': expected samples on a first axis, got a single number for each "
                "batch. Use forward, batch by batch."
            )
        if pad and len(first) != size:
            raise ShapeError(
                f"blob '{name}': expected {size} samples on the first axis, as many as a batch "
                f"has, got shape {first.shape}: the last batch is not full. Give a multiple of "
                f"{size} samples."
            )
        whole = np.concatenate([result[name] for result in results])
        together[name] = whole if pad == 0 else whole[:-pad]
    return together


def _filled_up(piece: np.ndarray, size: int) -> np.ndarray:
    if len(piece) == size:
        return piece
    filled = np.zeros((size, *piece.shape[1:]), piece.dtype)
    filled[: len(piece)] = piece
    return filled


def _numbers(given: Any, where: str) -> np.ndarray:
    """What was given for a blob as an array. Raises: TypeError where it is not made of numbers."""
    try:
        array = np.asarray(given)
        return array if array.dtype.kind in "biufc" else array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where}: expected an array of numbers, got {type(given).__name__}: {error}. Give "
            "numbers, and as many in each row."
        ) from None


def _refuse_shape(name: str, blob: Blob, array: np.ndarray, where: str) -> NoReturn:
    raise ShapeError(
        f"{where} '{name}': expected shape {blob.shape}, got {array.shape}. Reshape the array, or "
        f"first the blob: net.blobs['{name}'].reshape(...)."
    ) from None
