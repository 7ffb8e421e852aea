"""How many bytes the kernels of a training step move on a GPU, with layers merged and without.

python -m benchmarks.gpu_traffic [NET ...] [--batch N] [--kernels] runs each net forward and back on
a device that computes nothing, and counts what each kernel reads and writes: every blob that it is
given once, or twice where it changes one. Left out, since merging does not change them: matrix
products, the kernels of convolutions themselves, and the update. No GPU is needed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.nets import NETS
from caffepy.engine.core.backend import Runtime
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.layout import DeviceLayout
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.kernels import signatures
from caffepy.engine.passes import trace
from caffepy.engine.passes.fuse import fuse
from caffepy.proto.caffe_pb2 import TRAIN, NetState

BATCH = 2
MEMORY = 1 << 40
CONVOLUTIONS = ("convolution.cu", "depthwise.cu")
BARELY_READ = {("batch_statistics", "x"), ("mean_and_deviation", "x")}  # an element per channel
PIECES = {"copy_columns": 2, "rectified_columns": 3}  # accesses per element of part of a blob


@dataclass
class Traffic:
    """bytes: by kernel.  launches: of all kernels, products and copies."""

    bytes: Counter[str] = field(default_factory=Counter)
    launches: int = 0


class CountingRuntime(Runtime):
    """A GPU whose memory is the host's, and stays as it is: it counts what there would be to do."""

    capturing = False
    dnn = "nothing is computed"

    def __init__(self) -> None:
        self.layout = DeviceLayout(self)  # type: ignore[arg-type]
        self.traffic = Traffic()
        self.gradients: set[int] = set()  # addresses of what convolutions multiply, and add up

    def allocate(self, count: int, dtype: Any) -> np.ndarray:
        return np.zeros(count, dtype)  # memory that nobody touches takes none

    def clear(self, buffer: np.ndarray) -> None:
        """Left out: gradients of parameters."""

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        self._count("copy", 2 * source.nbytes)

    def upload(self, source: np.ndarray, buffer: np.ndarray) -> None:
        buffer[:] = source.reshape(-1)

    def download(self, buffer: np.ndarray, target: np.ndarray) -> None:
        target[...] = buffer.reshape(target.shape)

    def memory(self) -> tuple[int, int]:
        return MEMORY, MEMORY

    def build(self, source: str, name: str, element: str) -> tuple[str, str]:
        return source, name

    def launch(
        self, program: tuple[str, str], kernel: str, count: int, arguments: Sequence[Any]
    ) -> None:
        source, name = program
        parameters = signatures(source, name)[kernel]
        given = {one.name: value for one, value in zip(parameters, arguments, strict=True)}
        read: dict[int, int] = {}  # bytes by address
        written = 0
        for one in parameters:
            value = given[one.name]
            unseen = one.name == "y" and "given" in given and not given["given"][0]
            if not one.pointer or unseen or (kernel, one.name) in BARELY_READ:
                continue
            if one.const or one.name.startswith("add_"):
                read[value.ctypes.data] = value.nbytes
            if not one.const:
                written += value.nbytes
        of_convolution = name in CONVOLUTIONS or not self.gradients.isdisjoint(read)
        moved = 0 if of_convolution else sum(read.values()) + written
        if kernel in PIECES:
            moved = PIECES[kernel] * count * arguments[-1].itemsize
        self._count(f"{name.removesuffix('.cu')}: {kernel}", moved)

    launch_rows = launch

    def multiply(self, product: Product, a: Any, b: Any, out: Any, precision: str = "fp32") -> None:
        if product.transpose_b and product.batch > 1:  # gradients of weights, to be added up
            self.gradients.add(out.ctypes.data)
        self._count("products", 0)

    def _count(self, what: str, moved: int) -> None:
        self.traffic.launches += 1
        self.traffic.bytes[what] += moved


def traffic_of(net: str, batch: int = BATCH, merge: bool = True) -> Traffic:
    """Of one training step, without the update. merge: whether layers run as one."""
    runtime = CountingRuntime()
    ops = CudaOps(runtime)  # type: ignore[arg-type]
    param, state = NETS[net].param(batch), NetState(phase=TRAIN)
    one = Net(param, state, ops=ops, registry=LAYERS, seed=1, keep=False)
    merging = fuse if merge else lambda steps, given_up=None: list(steps)
    with mock.patch.object(trace, "fuse", merging):
        one.forward_backward()  # which also brings parameters to the device
        runtime.traffic = Traffic()
        one.forward_backward()
    return runtime.traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"some of {', '.join(NETS)}")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--kernels", action="store_true", help="the largest, with merging")
    options = parser.parse_args()
    if unknown := set(options.nets) - NETS.keys():
        parser.error(f"NET: expected some of {', '.join(NETS)}, got {', '.join(sorted(unknown))}")
    print("MB per step     one by one   merged   ratio   launches")
    for net in options.nets or NETS:
        plain, merged = (traffic_of(net, options.batch, merge) for merge in (False, True))
        before, after = (sum(one.bytes.values()) / 1e6 for one in (plain, merged))
        print(
            f"{net:15} {before:10.1f} {after:8.1f} {before / after:7.2f}"
            f"   {plain.launches} -> {merged.launches}"
        )
        if options.kernels:
            for kernel, moved in merged.bytes.most_common(12):
                print(f"    {kernel:45} {moved / 1e6:9.1f}")


if __name__ == "__main__":
    main()
