"""Files of a run: written so that a reader sees either all of one or nothing of it, and their
hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from caffepy.engine.core.errors import CaffepyError, SaveError

_TEMPORARY = re.compile(r"(.+)\.(\d+)\.part")  # a file's name, and the process that writes it


@contextlib.contextmanager
def written_whole(path: Path, refusal: type[CaffepyError] = SaveError) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there is on disk under `path` at the end.

    Raises: `refusal` where writing fails; `path` is then as it was.
    """
    with written_together(path, refusal=refusal) as (temporary,), refusing(path, refusal):
        yield temporary


@contextlib.contextmanager
def written_together(
    *paths: Path, refusal: type[CaffepyError] = SaveError
) -> Iterator[tuple[Path, ...]]:
    """Temporary paths beside `paths`. At the end everything is on disk before the first of them
    takes its place, and they do so in order. A link stays: the file that it leads to is replaced.

    Raises: `refusal` where that fails, or a path leads to a folder, a device or a pipe.
    """
    targets = tuple(_target(path, refusal) for path in paths)
    temporaries = tuple(path.with_name(f"{path.name}.{os.getpid()}.part") for path in targets)
    try:
        yield temporaries
        for path, temporary in zip(paths, temporaries, strict=True):
            with refusing(path, refusal), open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        for path, target, temporary in zip(paths, targets, temporaries, strict=True):
            with refusing(path, refusal):
                os.replace(temporary, target)
    finally:
        for temporary in temporaries:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _target(path: Path, refusal: type[CaffepyError]) -> Path:
    """What a link leads to; `path` itself where it is none. Raises: `refusal`."""
    with refusing(path, refusal):  # a name may be too long
        if path.exists() and not path.is_file():
            got = "a folder" if path.is_dir() else "a device or a pipe"
            raise refusal(f"{path}: cannot be written: expected a file, got {got}. Name a file.")
        return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def refusing(path: Path, refusal: type[CaffepyError] = SaveError) -> Iterator[None]:
    """Raises: `refusal` where writing to `path`, or what will become it, fails."""
    try:
        yield
    except OSError as error:
        raise refusal(
            f"{path}: cannot be written: {error.strerror or error}. Check the folder, its rights "
            "and the free space."
        ) from None


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


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


def remove_abandoned(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Removes the temporary files that killed processes have left in a folder.

    is_ours: says by the name that a file would have got whether it is one to remove.
    """
    for path in folder.glob("*.part"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and is_ours(match[1]) and not is_running(int(match[2])):
            with contextlib.suppress(OSError):  # it does no harm
                path.unlink()


def is_running(process: int) -> bool:
    """Whether another process has this number. Where that cannot be asked: no; the system then
    keeps a file that is open from being removed."""
    if process == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except PermissionError:  # somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True
