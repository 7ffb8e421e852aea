"""A file with disk space reserved for what is to be written."""

from __future__ import annotations

import errno
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

SYNC_BYTES = 1 << 24  # that are written before the disk is to take them


class ReservedFile:
    """An existing file that is written by way of a map. Without a reservation a disk that is full
    would end the process. What was written goes to the disk while more is written."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._pool = ThreadPoolExecutor(1, "sync")
        self._sync: Future[None] | None = None
        self._unsynced = 0

    @staticmethod
    def possible(folder: Path) -> bool:
        """Whether the system can reserve space in a folder."""
        if not hasattr(os, "posix_fallocate"):
            return False
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, 1)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                return False
        return True

    def reserve(self, size: int) -> None:
        """Space for so many bytes in all."""
        os.posix_fallocate(self._file, 0, size)

    def written(self, size: int) -> None:
        """Says that there are so many bytes more."""
        self._unsynced += size
        if self._unsynced >= SYNC_BYTES:
            self._wait()
            self._sync, self._unsynced = self._pool.submit(os.fsync, self._file), 0

    def close(self, size: int | None) -> None:
        """Ends it with so many bytes on the disk; None: as it is."""
        try:
            self._wait()
            if size is not None:
                os.truncate(self._file, size)
                os.fsync(self._file)
        finally:
            self._pool.shutdown()
            os.close(self._file)

    def _wait(self) -> None:
        if self._sync is not None:
            self._sync.result()
