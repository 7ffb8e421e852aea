"""HDF5 files, read without trust in what they say, and written without trust in the disk."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.core.units import size

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_PIECE, PIECE_SHARE = 1 << 26, 10  # bytes of a piece, and its share of a dataset: see below


@contextlib.contextmanager
def read_hdf5(path: Path, refusal: type[CaffepyError]) -> Iterator[Any]:
    """The h5py.File at `path`, open for reading.

    Raises: `refusal` where the block finds that it cannot be read.
    """
    import h5py

    try:
        check_length(path, refusal)
        with h5py.File(path, "r") as file:
            yield file
    except CaffepyError:
        raise
    except Exception as error:  # of a damaged file h5py raises nearly anything
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise refusal(
            f"{path}: expected an HDF5 file, got something that cannot be read as HDF5: "
            f"{reason or type(error).__name__}. Fix the path, or fetch or make the file again."
        ) from None


def hdf5_bytes(fill: Callable[[Any], None]) -> memoryview:
    """The HDF5 file that `fill(h5py.File)` makes, in memory.

    What libhdf5 writes to a disk that is full ends the whole process.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getbuffer()


def check_pieces(path: Path, dataset: Any, refusal: type[CaffepyError]) -> None:
    """Raises: `refusal` where the library would take much more memory for a piece (chunk) of a
    dataset than for all of that: one that is compressed may be any size in a small file."""
    if dataset.chunks is None:
        return
    piece = dataset.dtype.itemsize
    for length in dataset.chunks:
        piece *= length
    if piece > max(MOST_PIECE, PIECE_SHARE * dataset.nbytes):
        raise refusal(
            f"{path}: dataset '{dataset.name}': expected pieces (chunks) no bigger than its "
            f"{size(dataset.nbytes)}, got {size(piece)}. Make the file again, with smaller ones."
        )


def check_length(path: Path, refusal: type[CaffepyError]) -> None:
    """Compares the length of a file with that in its header, before the library believes it.

    Raises: `refusal`.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        length = file.seek(0, io.SEEK_END)
    if len(head) < 64 or not head.startswith(SIGNATURE):
        return  # the library says what it is, or finds the header further on
    version = head[8]
    width, start = (head[13], 24 + 4 * version) if version < 2 else (head[9], 12)
    if width not in (4, 8):
        return
    base, _, end = (
        int.from_bytes(head[at : at + width], "little")
        for at in range(start, start + 3 * width, width)
    )
    if not base and not start < end <= length:
        raise refusal(
            f"{path}: expected an HDF5 file of {end} bytes, as its header says, got {length} "
            "bytes: it is cut off or damaged. Fetch or make it again."
        )
