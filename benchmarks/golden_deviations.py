"""python -m benchmarks.golden_deviations: how far each engine is from what Caffe recorded.

For every set of golden results that can be run, the largest deviation of any number: absolute, and
relative to the largest number of the same array (arrays below SMALLEST, which are rounding errors
around 0, are left to the absolute figure). Cases with layer or solver types that are not there yet
are counted as left out; arrays that a fork got wrong are not counted. The order of rows and the
numbers are the same in every run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from caffepy.engine import filler
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data.db import open_db
from caffepy.engine.data.mean import compute_mean
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.select import make_ops
from caffepy.engine.snapshot import read_snapshot
from caffepy.proto import text, weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, NetState
from tests.data_cases import run_batches
from tests.engine.solver.running import expectations, golden_run
from tests.harness import ATOL, run_golden
from tests.net_cases import run_net

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
SMALLEST = ATOL
# Arrays that a fork got wrong, as the pages of these layers say; ours are other ones.
WRONG_IN_THE_FORK = {
    ("Normalize__ssd_random_scale", "gradient of bottom 0"),
    ("Normalize__across_per_channel", "gradient of bottom 0"),
    ("MultiBoxLoss__logistic_none", "top 0"),
    ("MultiBoxLoss__logistic_none", "loss"),
    ("MultiBoxLoss__logistic_none", "gradient of bottom 1"),
    ("MultiBoxLoss__variance_in_target", "gradient of bottom 0"),
}


@dataclass
class Deviations:
    """The largest deviations among the arrays of a golden set; called like `harness.compare`."""

    name: str
    cases: int = 0
    left_out: int = 0
    arrays: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    worst: str = ""  # the place of the largest relative deviation
    case: str = ""

    def __call__(self, found: Any, expected: Any, what: str) -> None:
        if (self.case, what) in WRONG_IN_THE_FORK:
            return
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        assert found.shape == expected.shape, f"{self.case}: {what}"
        self.arrays += 1
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        if same.all():
            return
        distance = np.abs(found - expected)[~same]
        absolute = float(np.nan_to_num(distance, nan=np.inf).max())
        scale = float(np.nan_to_num(np.abs(expected)).max())
        relative = absolute / scale if scale > SMALLEST else 0.0
        self.absolute = max(self.absolute, absolute)
        if relative > self.relative:
            self.relative, self.worst = relative, f"{self.case}: {what}"

    def run(self, case: str, compute: Callable[[], None]) -> None:
        """Counts a case; one that asks for what is not implemented yet is left out."""
        self.case = case
        try:
            compute()
        except CaffepyError as error:
            if "not implemented" not in str(error):
                raise
            self.left_out += 1
        else:
            self.cases += 1

    def row(self) -> str:
        left_out = f" ({self.left_out} left out)" if self.left_out else ""
        if not self.cases:
            return f"{self.name:34} no case{left_out}"
        return (
            f"{self.name:34} {self.cases:4} {self.arrays:6} {self.absolute:10.2e} "
            f"{self.relative:10.2e}  {self.worst}{left_out}"
        )


def layers(ops: Ops, kind: str = "layers") -> Iterator[Deviations]:
    """golden/layers or fork_layers, one row per layer type."""
    types = sorted({folder.name.split("__")[0] for folder in (GOLDEN / kind).iterdir()})
    for layer_type in types:
        row = Deviations(f"{kind}: {layer_type}")
        if layer_type in LAYERS:
            for folder in sorted((GOLDEN / kind).glob(f"{layer_type}__*")):
                row.run(folder.name, partial(_run_apart, folder, ops, row))
            yield row


def _run_apart(folder: Path, ops: Ops, row: Deviations) -> None:
    """A case of one layer, in a copy of its folder: some layers write files there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        os.chdir(copy)
        try:
            run_golden(Path(copy), ops, row)
        finally:
            os.chdir(before)


def whole_nets(ops: Ops, kind: str = "netfb") -> Iterator[Deviations]:
    """golden/netfb or fork_netfb: data, diffs, parameters and their gradients, loss."""
    row = Deviations(kind)
    for folder in sorted((GOLDEN / kind).iterdir()):
        row.run(folder.name, partial(run_net, folder, ops, row))
    yield row


def solvers(ops: Ops) -> Iterator[Deviations]:
    """golden/solvers: losses by iteration, weights and history in the snapshots."""
    rows = [Deviations(f"solvers: {what}") for what in ("losses", "weights", "history")]
    for folder in sorted((GOLDEN / "solvers").iterdir()):
        run = golden_run(folder.name, ops=ops)
        for row in rows:
            row.case = folder.name
            row.cases += 1
        losses, blobs, history = rows
        if run.solver.param.iter_size == 1:  # the recorded one is that of the last batch only
            found = list(run.history.losses.values())
            losses(found, expectations(folder.name)["loss"], "losses")
        for theirs in sorted(folder.glob("snap_iter_*.caffemodel*")):
            expected = _weights(theirs)
            for name, array in _weights(run.folder / theirs.name).items():
                blobs(array, expected.pop(name), f"{theirs.name}, {name}")
            assert not expected
        for theirs in sorted(folder.glob("snap_iter_*.solverstate*")):
            states = read_snapshot(run.folder / theirs.name), read_snapshot(theirs)
            for index, arrays in enumerate(zip(*(s.history for s in states), strict=True)):
                history(*arrays, f"{theirs.name}, {index}")
    yield from rows


def _weights(path: Path) -> dict[str, np.ndarray]:
    """The parameters in a file, by layer and index."""
    found: dict[str, np.ndarray] = {}
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            for layer, blobs in file["data"].items():
                found |= {f"{layer}/{index}": blob[()] for index, blob in blobs.items()}
    else:
        for layer in weights.read(path):
            found |= {f"{layer.name}/{index}": one.data for index, one in enumerate(layer.blobs)}
    return found


def nets(ops: Ops) -> Iterator[Deviations]:
    """golden/nets: the shapes of all blobs and parameters, and the loss weights."""
    row = Deviations("nets: shapes, loss weights")

    def build(path: Path, expected: dict[str, Any]) -> None:
        state = NetState(phase=TRAIN if expected["phase"] == "TRAIN" else TEST)
        state.level = expected["level"]
        state.stage.extend(expected["stages"])
        net = Net(text.read(path, NetParameter), state, ops=ops, registry=LAYERS)
        for name, shape in expected["blobs"].items():
            row(net.blobs[name].shape, shape, f"blob {name}")
        for layer, recorded in zip(net.layers, expected["layers"], strict=True):
            for blob, shape in zip(layer.blobs, recorded["param_shapes"], strict=True):
                row(blob.shape, shape, f"parameters of {layer.name}")
        for name, weight in expected["loss_weights"].items():
            row(np.float32(net.loss_weights[name]), np.float32(weight), f"loss weight of {name}")

    with mock.patch.object(filler, "fill"):  # the numbers do not matter
        for folder in sorted((GOLDEN / "nets").iterdir()):
            for expected in json.loads((folder / "shapes.json").read_text())["states"]:
                if "error" not in expected:
                    path = folder / "net.prototxt"
                    row.run(folder.name, partial(build, path, expected))
    yield row


def transforms(ops: Ops, kind: str = "formats") -> Iterator[Deviations]:
    """golden/formats/transforms or those of fork_formats: batches of the data layers."""
    row = Deviations("transforms" if kind == "formats" else "fork_transforms")
    with tempfile.TemporaryDirectory() as folder:  # opening a LevelDB changes it
        shutil.copytree(GOLDEN / kind, folder, dirs_exist_ok=True)
        for case in sorted((GOLDEN / kind / "transforms").iterdir()):
            row.run(case.name, partial(run_batches, Path(folder), case.name, ops, row, kind))
    yield row


def means(ops: Ops) -> Iterator[Deviations]:
    """golden/formats/means.npz: mean images of databases, which no engine takes part in."""
    row = Deviations("means")
    with tempfile.TemporaryDirectory() as folder, np.load(GOLDEN / "formats/means.npz") as recorded:
        shutil.copytree(GOLDEN / "formats" / "db", folder, dirs_exist_ok=True)
        for file in recorded.files:
            name = file.removeprefix("mean_").removesuffix(".binaryproto")
            database = open_db(Path(folder) / name, name.rsplit("_", 1)[1])
            row.case, row.cases = name, row.cases + 1
            found = compute_mean(database)
            database.close()
            row(found, recorded[file].reshape(found.shape), "mean")
    yield row


SETS = {
    "layers": layers, "fork_layers": partial(layers, kind="fork_layers"),
    "netfb": whole_nets, "fork_netfb": partial(whole_nets, kind="fork_netfb"),
    "solvers": solvers, "nets": nets,
    "transforms": transforms, "fork_transforms": partial(transforms, kind="fork_formats"),
    "means": means,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--engines", default="numpy,onednn", help="a list of numpy, onednn")
    parser.add_argument("--sets", default=",".join(SETS), help="a list of " + ", ".join(SETS))
    options = parser.parse_args()
    importlib.import_module("caffepy.layers")  # registers the layer types
    logging.getLogger("caffepy").setLevel(logging.ERROR)
    for engine in options.engines.split(","):
        ops = make_ops(engine)
        print(f"== {engine}")
        print(f"{'set':33} cases arrays   absolute   relative  where the relative one is")
        for name in options.sets.split(","):
            for row in SETS[name](ops):
                print(row.row(), flush=True)


if __name__ == "__main__":
    main()
