"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caffepy.engine import machine

GIB = 1 << 30

pytestmark = pytest.mark.skipif(os.name != "posix", reason="control groups are Linux's")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file system of a machine with 16 GiB."""
    sizes = {"SC_PHYS_PAGES": 4 << 20, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_without_control_groups_it_is_the_physical_memory(root: Path) -> None:
    assert machine.memory_bytes(root) == 16 * GIB


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/memory.max": "max\n"}, 16),
        ({"sys/fs/cgroup/user/job/memory.max": f"{2 * GIB}\n"}, 2),
        ({"sys/fs/cgroup/memory.max": f"{3 * GIB}\n"}, 3),  # a container's own group
        (
            {
                "sys/fs/cgroup/user/job/memory.max": f"{5 * GIB}\n",
                "sys/fs/cgroup/user/memory.max": f"{4 * GIB}\n",
            },
            4,
        ),
        ({"sys/fs/cgroup/user/job/memory.max": f"{99 * GIB}\n"}, 16),
        ({"sys/memory.max": f"{GIB}\n"}, 16),  # no control group
        ({"sys/fs/cgroup/user/job/memory.max": "\n"}, 16),
    ],
)
def test_the_least_limit_of_version_2_counts(
    root: Path, files: dict[str, str], expected: int
) -> None:
    write(root, {"proc/self/cgroup": "0::/user/job\n", **files})
    assert machine.memory_bytes(root) == expected * GIB


@pytest.mark.parametrize("folder", ["docker/1234", ""])
def test_the_limit_of_version_1_counts(root: Path, folder: str) -> None:
    groups = "12:cpu,cpuacct:/docker/1234\n7:memory:/docker/1234\n1:name=systemd:/x\n\n"
    limit = Path("sys/fs/cgroup/memory", folder, "memory.limit_in_bytes")
    write(root, {"proc/self/cgroup": groups, str(limit): f"{6 * GIB}\n"})
    write(root, {"sys/fs/cgroup/cpu/memory.limit_in_bytes": "1\n"})
    assert machine.memory_bytes(root) == 6 * GIB


def test_it_is_unknown_where_the_system_does_not_say(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name: {name}")

    monkeypatch.setattr(os, "sysconf", unknown, raising=False)
    assert machine.memory_bytes(root) is None


def test_this_machine_has_some() -> None:
    assert (machine.memory_bytes() or 0) > GIB // 8


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/job/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/user/cpu.max": "150000 100000\n",
            },
            1.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuacct,cpu:/docker\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_the_least_limit_of_cpu_time_counts(
    root: Path, files: dict[str, str], expected: float | None
) -> None:
    write(root, files)
    assert machine.cpu_limit(root) == expected


def test_a_process_may_run_on_some_of_the_cpus() -> None:
    assert 1 <= machine.allowed_cpus() <= (os.cpu_count() or 1)
