"""Files that Caffe wrote, read and written again: the same bytes, so that Caffe reads ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.snapshot import read_snapshot, write_snapshot
from caffepy.engine.weights import load_weights
from caffepy.engine.weights_file import save_weights
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter, SolverState
from caffepy.proto.wire import Wire
from tests.engine.solver.running import CASES
from tests.engine.solver.test_golden import assert_same_hdf5
from tests.nets import make_net

OWN_FIELD = SolverState.DESCRIPTOR.fields_by_name["caffepy_state"].number


def written(kind: str) -> list[Path]:
    """The files that Caffe wrote in the recorded runs."""
    files = sorted(CASES.glob(f"*/*_iter_*.{kind}"))
    assert files
    return files


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


@pytest.mark.parametrize("path", written("caffemodel"), ids=named)
def test_weights_are_written_byte_for_byte(path: Path, tmp_path: Path) -> None:
    solver = text.read(path.parent / "solver.prototxt", SolverParameter)
    net = make_net(path.parent / (solver.net or solver.train_net), folders=(path.parent,))
    load_weights(net, path)
    save_weights(net, tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == path.read_bytes()
    net.close()


@pytest.mark.parametrize("path", written("solverstate"), ids=named)
def test_states_are_written_byte_for_byte_but_for_the_field_of_ours(
    path: Path, tmp_path: Path
) -> None:
    write_snapshot(read_snapshot(path), tmp_path / "s")
    ours = (tmp_path / "s").read_bytes()
    fields = Wire(ours, "s").fields(0, len(ours))
    kept = [ours[part.at : part.end] for part in fields if part.number != OWN_FIELD]
    assert b"".join(kept) == path.read_bytes()


@pytest.mark.parametrize("path", written("caffemodel.h5"), ids=named)
def test_weights_in_hdf5_have_the_same_groups_and_numbers(path: Path, tmp_path: Path) -> None:
    net = make_net(path.parent / "net.prototxt", folders=(path.parent,))
    load_weights(net, path)
    save_weights(net, tmp_path / "w.h5", hdf5=True)
    assert_same_hdf5(tmp_path / "w.h5", path)
    net.close()


@pytest.mark.parametrize("path", written("solverstate.h5"), ids=named)
def test_states_in_hdf5_have_the_same_groups_and_numbers(path: Path, tmp_path: Path) -> None:
    write_snapshot(read_snapshot(path), tmp_path / "s.h5", hdf5=True)
    assert_same_hdf5(tmp_path / "s.h5", path)
