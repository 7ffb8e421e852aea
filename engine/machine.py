"""How much memory and how many CPUs the machine, or the container that this process is confined to,
has."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def memory_bytes(root: Path = Path("/")) -> int | None:
    """The physical memory, or the least limit of this process's control groups where that is lower;
    None where the system does not say.

    root: of the file system, where Linux tells about control groups.
    """
    known = [*_physical(), *_limits(root)]
    return min(known, default=None)


def _physical() -> Iterator[int]:
    if sys.platform == "win32":
        yield from _windows()
        return
    with contextlib.suppress(ValueError, OSError, AttributeError):  # names that a system lacks
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _windows() -> Iterator[int]:
    import ctypes

    class MemoryStatus(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load_percent", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("others", ctypes.c_ulonglong * 6),
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    with contextlib.suppress(AttributeError, OSError):
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # type: ignore[attr-defined,unused-ignore]
            yield status.total


def cpu_limit(root: Path = Path("/")) -> float | None:
    """The least limit of CPU time, in CPUs, that the control groups of this process set; None where
    there is none. root: as for `memory_bytes`."""
    found = []
    for folder, version in _groups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # no file, or "max"
            if version == 2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
            if quota > 0 and period > 0:  # -1: none
                found.append(quota / period)
    return min(found, default=None)


def allowed_cpus() -> int:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(root: Path) -> Iterator[int]:
    """The memory limits of the control groups that this process is in."""
    for folder, version in _groups(root, "memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        with contextlib.suppress(OSError, ValueError):  # no file, or "max"
            yield int((folder / name).read_text())


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of the control groups that this process is in, with those above them, and of
    which version they are.

    A container often sees its own group as the top one, whatever /proc says of its path.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # number:controllers:path, without controllers in version 2
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, 1 if controllers else 2
            if folder == top:
                break
