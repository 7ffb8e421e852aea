"""caffepy device_query: what the GPUs are, line by line as Caffe logs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from caffepy.engine.ops.cuda.port import DeviceProperties


@click.command()
@click.option("--gpu", default="all", metavar="IDS", help="0, or 0,1, or all. [default: all]")
def command(gpu: str) -> int:
    """Shows what the GPUs are. Ends with status 1 where there is none that can be used."""
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DeviceError
    from caffepy.engine.ops.cuda import runtime
    from caffepy.tools.common import split_list

    found = runtime.count()
    names = [str(index) for index in range(found)] if gpu == "all" else split_list(gpu)
    there = {str(index) for index in range(found)}
    if not names or not there.issuperset(names):
        raise DeviceError(
            f"--gpu {gpu}: expected numbers from 0 to {found - 1}, or all, got '{gpu}'. Give one "
            "of them."
        )
    log.info(f"Querying GPUs {gpu}")
    for name in names:
        for line in lines(runtime.properties(int(name))):
            log.info(line)
    return 0


def lines(device: DeviceProperties) -> Iterator[str]:
    """What Caffe tells of a GPU."""
    told: dict[str, object] = {
        "Device id": device.index,
        "Major revision number": device.major,
        "Minor revision number": device.minor,
        "Name": device.name,
        "Total global memory": device.total_memory,
        "Total shared memory per block": device.shared_memory_per_block,
        "Total registers per block": device.registers_per_block,
        "Warp size": device.warp_size,
        "Maximum memory pitch": device.max_pitch,
        "Maximum threads per block": device.max_threads_per_block,
        "Maximum dimension of block": ", ".join(map(str, device.max_threads)),
        "Maximum dimension of grid": ", ".join(map(str, device.max_grid)),
        "Clock rate": device.clock_khz,
        "Total constant memory": device.constant_memory,
        "Texture alignment": device.texture_alignment,
        "Concurrent copy and execution": "Yes" if device.concurrent_copy else "No",
        "Number of multiprocessors": device.multiprocessors,
        "Kernel execution timeout": "Yes" if device.kernel_timeout else "No",
    }
    return (f"{f'{name}:':<30} {value}" for name, value in told.items())
