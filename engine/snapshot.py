"""The state of a solver from and to .solverstate and .solverstate.h5 files.

Binary: a SolverState message. HDF5, as in Caffe: iter, learned_net, current_step, history/<i>. What
exact resume needs besides stands in the field, or dataset, caffepy_state as JSON; Caffe skips it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.files import written_whole
from caffepy.engine.weights import file_hash, is_hdf5
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import SolverState
from caffepy.proto.wire import BYTES, Wire, header

_HISTORY = SolverState.DESCRIPTOR.fields_by_name["history"].number


@dataclass
class Snapshot:
    """A solver's state.

    iteration: how many are done.  learned_net: the weights file.  current_step: of the lr_policy.
    history: the update rule's arrays, in Caffe's order.  extra: caffepy's own notes, plain values
    and arrays; empty in Caffe's files.
    """

    iteration: int
    learned_net: str
    current_step: int
    history: list[np.ndarray]
    extra: dict[str, Any] = field(default_factory=dict)


def write_snapshot(snapshot: Snapshot, path: Path, *, hdf5: bool = False) -> None:
    """Writes a state file. Raises: SnapshotError."""
    with written_whole(path) as temporary:
        if hdf5:
            _write_hdf5(snapshot, temporary)
        else:
            pieces = list(_binary_pieces(snapshot))
            total = sum(map(len, pieces))
            if total > weights.MAX_MESSAGE:
                raise SnapshotError(
                    f"{path}: expected at most {weights.MAX_MESSAGE} bytes, which is all that "
                    f"Caffe reads, got {total}. Set snapshot_format: HDF5."
                )
            with open(temporary, "wb") as file:
                file.writelines(pieces)


def read_snapshot(path: Path) -> Snapshot:
    """Reads a state file, Caffe's or ours. Raises: SnapshotError, WeightsError."""
    return _read_hdf5(path) if is_hdf5(path) else _read_binary(path)


def find_weights(snapshot: Snapshot, path: Path) -> Path | None:
    """The weights file of a state read from `path`: where the state says, else beside the state.

    Of files of the same name, the one that was written with the state counts, where that is known.
    Raises: SnapshotError where there is none.
    """
    if not snapshot.learned_net:
        return None
    named = Path(snapshot.learned_net.replace("\\", "/"))
    candidates = [Path(snapshot.learned_net), path.parent / named, path.parent / named.name]
    existing = [candidate for candidate in dict.fromkeys(candidates) if candidate.is_file()]
    if not existing:
        raise SnapshotError(
            f"{path}: its weights '{snapshot.learned_net}' are neither there nor beside it. Put "
            "the two files into one folder."
        )
    wanted = snapshot.extra.get("weights_sha256")
    for candidate in existing:
        if wanted is None or file_hash(candidate) == wanted:
            return candidate
    raise SnapshotError(
        f"{path}: weights '{existing[0]}': expected the file that was written with this state, got "
        "another one of that name. Resume from a state whose weights are unchanged, or start from "
        "the weights alone."
    )


# ---- binary


def _binary_pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """In the order of field numbers, as protobuf writes them."""
    head = SolverState(iter=snapshot.iteration, learned_net=snapshot.learned_net)
    yield head.SerializeToString()
    for array in snapshot.history:
        blob = weights.encode_blob(array)
        yield header(_HISTORY, len(blob))
        yield blob
    tail = SolverState(current_step=snapshot.current_step)
    if snapshot.extra:
        tail.caffepy_state = _encode(snapshot.extra)
    yield tail.SerializeToString()


def _read_binary(path: Path) -> Snapshot:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror or error}.") from None
    wire = Wire(data, str(path))
    rest: list[bytes] = []
    history: list[np.ndarray] = []
    for part in wire.fields(0, len(data)):
        if part.number == _HISTORY:
            wire.want(part, BYTES)
            history.append(weights.decode_blob(data[part.start : part.end], str(path)).data)
        else:
            rest.append(data[part.at : part.end])
    state = SolverState()
    try:
        state.ParseFromString(b"".join(rest))
    except DecodeError as error:
        raise SnapshotError(f"{path}: cannot be read as a solver's state: {error}.") from None
    if not state.HasField("iter"):
        raise SnapshotError(
            f"{path}: expected a .solverstate, got a file without an iteration. Give the "
            ".solverstate; a .caffemodel is for --weights."
        )
    return Snapshot(
        state.iter,
        state.learned_net,
        state.current_step,
        history,
        _decode(state.caffepy_state, path),
    )


# ---- HDF5


def _write_hdf5(snapshot: Snapshot, temporary: Path) -> None:
    import h5py

    with h5py.File(temporary, "w") as file:
        name = snapshot.learned_net.encode()
        file["iter"] = np.array([snapshot.iteration], np.int32)
        # Caffe reads up to a NUL that must be part of the string.
        file.create_dataset("learned_net", data=np.array(name, f"S{len(name) + 1}"))
        file["current_step"] = np.array([snapshot.current_step], np.int32)
        history = file.create_group("history")
        for index, array in enumerate(snapshot.history):
            history.create_dataset(str(index), data=array)
        if snapshot.extra:
            file["caffepy_state"] = np.frombuffer(_encode(snapshot.extra), np.uint8)


def _read_hdf5(path: Path) -> Snapshot:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = {"iter", "history"} - set(file)
            if missing:
                raise SnapshotError(
                    f"{path}: expected a .solverstate.h5, got an HDF5 file without "
                    f"{' and '.join(sorted(missing))}. Give the .solverstate.h5; a .caffemodel.h5 "
                    "is for --weights."
                )
            history = file["history"]
            extra = file["caffepy_state"][()].tobytes() if "caffepy_state" in file else b""
            learned_net = file["learned_net"][()] if "learned_net" in file else b""
            return Snapshot(
                int(np.ravel(file["iter"][()])[0]),
                bytes(learned_net).rstrip(b"\0").decode("utf-8", "replace"),
                int(np.ravel(file["current_step"][()])[0]) if "current_step" in file else 0,
                [history[str(index)][()] for index in range(len(history))],
                _decode(extra, path),
            )
    except (OSError, KeyError, IndexError) as error:
        raise SnapshotError(f"{path}: cannot be read as a solver's state: {error}.") from None


# ---- caffepy's own notes


def _encode(extra: dict[str, Any]) -> bytes:
    return json.dumps(extra, default=_packed).encode()


def _decode(data: bytes, path: Path) -> dict[str, Any]:
    if not data:
        return {}
    try:
        return dict(json.loads(data, object_hook=_unpacked))
    except (ValueError, TypeError, KeyError) as error:
        raise SnapshotError(f"{path}: caffepy_state: cannot be read: {error}.") from None


def _packed(item: Any) -> Any:
    """What JSON has no form for."""
    if isinstance(item, np.generic):
        return item.item()
    if isinstance(item, np.ndarray):
        return {
            "array": base64.b64encode(np.ascontiguousarray(item).tobytes()).decode(),
            "dtype": item.dtype.str,
            "shape": item.shape,
        }
    if isinstance(item, bytes):
        return {"bytes": base64.b64encode(item).decode()}
    raise TypeError(f"a layer's or callback's state holds a {type(item).__name__}")


def _unpacked(item: dict[str, Any]) -> Any:
    if item.keys() == {"array", "dtype", "shape"}:
        memory = np.frombuffer(base64.b64decode(item["array"]), np.dtype(item["dtype"]))
        return memory.reshape(item["shape"]).copy()
    if item.keys() == {"bytes"}:
        return base64.b64decode(item["bytes"])
    return item
