"""Writing files so that a reader sees either all of a file or nothing of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from caffepy.engine.core.errors import CaffepyError, SnapshotError


@contextlib.contextmanager
def written_whole(path: Path, refusal: type[CaffepyError] = SnapshotError) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there is on disk under `path` at the end.

    Raises: `refusal` where writing fails; `path` is then as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise refusal(
            f"{path}: cannot be written: {error.strerror or error}. Check the folder, its rights "
            "and the free space."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # some network file systems refuse
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
