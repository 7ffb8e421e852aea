"""The blobs of weights files, given to the layers of a net that have their names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from caffepy.engine.copied import (
    COPIED,
    DIFFERS,
    NOT_IN_FILE,
    NOT_IN_NET,
    BlobCopy,
    CopyTable,
)
from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import WeightsError
from caffepy.engine.core.keys import Keys
from caffepy.engine.core.layer import Layer
from caffepy.engine.net import Net
from caffepy.engine.weights_file import LayerInFile, read_layers
from caffepy.proto.weights import BlobArray

ON_MISMATCH = ("error", "skip")  # what blobs that do not fit the net's do

_SKIP_REMEDY = (
    " Or leave out what does not fit: on_mismatch='skip' in Python, --on-mismatch skip for "
    "`caffepy train`."
)


@dataclass(frozen=True)
class FittingWeights:
    """The blobs of a file, each with the one of a net that it is for; nothing is copied yet.

    table: what becomes of each blob of the file and of the net.
    """

    copies: list[tuple[Blob, BlobArray]]
    table: CopyTable

    def load(self) -> None:
        """Copies them into the net."""
        for blob, array in self.copies:
            blob.data.write()[...] = array.data.reshape(blob.shape)
            if array.diff is not None:
                blob.diff.write()[...] = array.diff.reshape(blob.shape)


def fit_weights(
    net: Net,
    path: Path,
    *,
    must_match: bool = True,
    complete: bool = False,
    on_mismatch: str = "error",
) -> FittingWeights:
    """The blobs of a file for the layers of the same name in a net.

    Of several layers of one name in the net, the first takes the first of that name in the file,
    and so on (Caffe has the first take them all); what is left in the file goes to the first.
    Layers of the file that the net does not have are ignored, with a log line. Shapes of the old
    4-axis form fit as in Caffe: (1, 1, N, K) is (N, K).
    must_match: refuse a file of which no layer is in the net, or none that has weights, and with
    `skip` one of which no blob fits.  complete: refuse one that lacks a layer of the net which has
    blobs of its own.
    on_mismatch: `error` refuses a file where a layer has other blobs than the net's layer of that
    name; `skip` leaves out the blobs that do not fit.

    Raises: WeightsError.
    """
    if on_mismatch not in ON_MISMATCH:
        raise WeightsError(
            f"{path}: on_mismatch: expected {' or '.join(map(repr, ON_MISMATCH))}, got "
            f"{on_mismatch!r}. Correct it."
        )
    sources = read_layers(path)
    layers = {layer.key: layer for layer in net.layers}
    owned = {id(parameter.blob) for parameter in net.parameters.learnable}
    copies: list[tuple[Blob, BlobArray]] = []
    rows: dict[str, list[BlobCopy]] = {key: [] for key in layers}  # by the net's layers
    surplus: list[BlobCopy] = []
    keys, found = Keys(), set()
    for source in sources:
        key = keys.take(source.name)
        found.add(key)
        layer = layers.get(key) or layers.get(source.name)
        if layer is None:
            log.info(f"Ignoring source layer {source.name}")
            surplus += [row for row, _ in _compared(source.name, source, None, owned)]
            continue
        compared = list(_compared(source.name, source, layer, owned))
        if on_mismatch == "error":
            remedy = "" if complete else _SKIP_REMEDY
            _refuse_mismatch(path, source, layer, [row for row, _ in compared], remedy)
        rows[layer.key] += [row for row, _ in compared]
        copies += [pair for _, pair in compared if pair is not None]
    if must_match and not found & set(layers):
        names = [f"'{source.name}'" for source in sources[:5]]
        raise WeightsError(
            f"{path}: expected layers of net '{net.name}', got no layer whose name is in it "
            f"({', '.join(names) or 'the file has none'}). Layers are matched by name: use the "
            "weights of this net, or give its layers the file's names."
        )
    if must_match and on_mismatch == "skip" and not copies:
        raise WeightsError(
            f"{path}: expected blobs that fit net '{net.name}', got none: all of them would be "
            "skipped. Use the weights of a net like this one."
        )
    if must_match and owned and surplus and not copies:
        names = [f"'{name}'" for name in list(dict.fromkeys(row.layer for row in surplus))[:5]]
        raise WeightsError(
            f"{path}: expected weights of net '{net.name}', got those of other layers "
            f"({', '.join(names)}): what has the same name in both has no weights. Layers are "
            "matched by name: use the weights of this net, or give its layers the file's names."
        )
    nothing = LayerInFile("", {}, True)
    for layer in net.layers:
        if layer.key in found:
            continue
        missing = [row for row, _ in _compared(layer.name, nothing, layer, owned)]
        if complete and missing:
            raise WeightsError(
                f"{path}: expected the weights of every layer of net '{net.name}', got none "
                f"of '{layer.name}'. Use the file that was written with this net; it may be "
                "cut off."
            )
        rows[layer.key] += missing
    return FittingWeights(copies, CopyTable((*chain.from_iterable(rows.values()), *surplus)))


def load_weights(
    net: Net,
    path: str | os.PathLike[str],
    *,
    must_match: bool = True,
    on_mismatch: str = "error",
) -> CopyTable:
    """Copies the blobs of a file into the layers of the same name; see `fit_weights`.

    Returns: what was copied.
    Raises: WeightsError; the net is then unchanged.
    """
    fitting = fit_weights(net, Path(path), must_match=must_match, on_mismatch=on_mismatch)
    fitting.load()
    return fitting.table


def load_weights_list(
    net: Net, paths: str, *, must_match: bool = True, on_mismatch: str = "error"
) -> list[CopyTable]:
    """Loads several files, parted by commas, one after the other. Returns: what each has brought.

    Raises: as `load_weights`.
    """
    tables = []
    for name in filter(None, (name.strip() for name in paths.split(","))):
        log.info(f"Finetuning from {name}")
        tables.append(load_weights(net, name, must_match=must_match, on_mismatch=on_mismatch))
    return tables


def _compared(
    name: str, source: LayerInFile, layer: Layer | None, owned: set[int]
) -> Iterator[tuple[BlobCopy, tuple[Blob, BlobArray] | None]]:
    """Each blob of a layer, in the file or in the net: its row, and the copy to make if it fits.

    layer: the net's, None where it has none.  A blob that is shared with another one may be missing
    in a partial source.
    """
    blobs: Sequence[Blob] = () if layer is None else layer.blobs
    for index in range(max(len(blobs), *(at + 1 for at in source.blobs), 0)):
        blob = blobs[index] if index < len(blobs) else None
        array = source.blobs.get(index)
        copy = None
        if blob is None and array is None:
            continue
        if blob is None:
            outcome = NOT_IN_NET
        elif array is None:
            if source.partial and id(blob) not in owned:
                continue
            outcome = NOT_IN_FILE
        elif _fits(blob.shape, array, layer is not None and layer.loose_blobs):
            outcome, copy = COPIED, (blob, array)
        else:
            outcome = DIFFERS
        in_file = None if array is None else array.shape
        in_net = None if blob is None else blob.shape
        yield BlobCopy(name, index, in_file, in_net, outcome), copy


def _refuse_mismatch(
    path: Path, source: LayerInFile, layer: Layer, rows: Sequence[BlobCopy], remedy: str
) -> None:
    """Raises: WeightsError where the blobs of a layer are not the net's."""
    if any(row.outcome in (NOT_IN_FILE, NOT_IN_NET) for row in rows):
        raise WeightsError(
            f"{path}: layer '{source.name}': expected {len(layer.blobs)} blob(s), as the net "
            f"has, got {len(source.blobs)}. Rename the layer in the prototxt to learn it from "
            f"scratch, or make it like the file's (bias_term).{remedy}"
        )
    for row in rows:
        if row.outcome == DIFFERS:
            raise WeightsError(
                f"{path}: layer '{source.name}', blob {row.blob}: expected shape {row.in_net}, as "
                f"the net has, got {row.in_file}. Rename the layer in the prototxt to learn it "
                f"from scratch, or change its num_output (or its input) to fit the file.{remedy}"
            )


def _fits(shape: tuple[int, ...], array: BlobArray, loose: bool) -> bool:
    if loose:
        return _without_ones(shape) == _without_ones(array.shape)
    if array.legacy_shape and len(shape) <= 4:
        shape = (1,) * (4 - len(shape)) + shape
    return shape == array.shape


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]
