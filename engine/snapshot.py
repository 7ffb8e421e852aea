"""The state of a solver from and to .solverstate and .solverstate.h5 files.

Binary: a SolverState message. HDF5, as in Caffe: iter, learned_net, current_step, history/<i>. What
exact resume needs besides stands in the field, or dataset, caffepy_state, which Caffe skips: the
SHA-256 of all that the file says, a line break, and JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.files import file_hash, written_whole
from caffepy.engine.hdf5_file import check_length, check_pieces, hdf5_bytes
from caffepy.engine.weights_file import is_hdf5
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import SolverState
from caffepy.proto.wire import BYTES, Wire, header

_LEARNED_NET = SolverState.DESCRIPTOR.fields_by_name["learned_net"].number
_HISTORY = SolverState.DESCRIPTOR.fields_by_name["history"].number

POLICY_FIELDS = ("minimum_loss", "iter_last_event")  # of the SSD fork, for lr_policy plateau


@dataclass
class Snapshot:
    """A solver's state.

    iteration: how many are done.  learned_net: the weights file.  current_step: of the lr_policy.
    history: the update rule's arrays, in Caffe's order.  policy: what the lr_policy keeps besides,
    by the names in POLICY_FIELDS.  extra: caffepy's own notes, plain values and arrays; empty in
    Caffe's files.
    """

    iteration: int
    learned_net: str
    current_step: int
    history: list[np.ndarray]
    extra: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, float] = field(default_factory=dict)


def write_snapshot(snapshot: Snapshot, path: Path, *, hdf5: bool = False) -> None:
    """Writes a state file. Raises: SnapshotError."""
    with written_whole(path) as temporary:
        put_snapshot(snapshot, temporary, path, hdf5=hdf5)


def put_snapshot(snapshot: Snapshot, temporary: Path, path: Path, *, hdf5: bool = False) -> None:
    """`write_snapshot` into a file that will become `path`. Raises: SnapshotError, OSError."""
    pieces: list[bytes | memoryview]
    if hdf5:
        pieces = [hdf5_bytes(lambda file: _fill_hdf5(snapshot, file))]
    else:
        pieces = [*_binary_pieces(snapshot)]
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
    snapshot, notes = _read_hdf5(path) if is_hdf5(path) else _read_binary(path)
    if notes:
        digest, _, text = notes.partition(b"\n")
        if digest.decode("latin-1") != _digest(snapshot, text):
            raise SnapshotError(
                f"{path}: expected the content that was written, got another: the file is cut off "
                "or damaged. Fetch it again, or resume from an earlier one."
            )
        snapshot.extra = json.loads(text, object_hook=_unpacked)
    return snapshot


def read_learned_net(path: Path) -> str:
    """The weights file that a state names; only that much is read. Raises: SnapshotError."""
    try:
        if is_hdf5(path):
            import h5py

            check_length(path, SnapshotError)
            with h5py.File(path, "r") as file:
                return _hdf5_name(file)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            wire = Wire(data, str(path))
            with wire.data:
                for part in wire.fields(0, len(data)):
                    if part.number == _LEARNED_NET:
                        return wire.text(part)
        return ""
    except Exception as error:  # of a damaged file h5py raises nearly anything
        raise SnapshotError(f"{path}: cannot be read as a solver's state: {error}.") from None


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
    """caffepy_state first, so that a file that is cut off anywhere is seen to be; the rest in the
    order of field numbers, as protobuf writes them."""
    yield SolverState(caffepy_state=_notes(snapshot)).SerializeToString()
    yield SolverState(iter=snapshot.iteration, learned_net=snapshot.learned_net).SerializeToString()
    for array in snapshot.history:
        blob = weights.encode_blob(array)
        yield header(_HISTORY, len(blob))
        yield blob
    state = SolverState(current_step=snapshot.current_step)
    for key, value in snapshot.policy.items():
        setattr(state, key, value)
    yield state.SerializeToString()


def _read_binary(path: Path) -> tuple[Snapshot, bytes]:
    """The state, still without `extra`, and the content of caffepy_state."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SnapshotError(
            f"{path}: cannot be read: {error.strerror or error}. Name a file that may be read."
        ) from None

    def apart(wire: Wire) -> tuple[list[bytes], list[np.ndarray]]:
        """The fields besides the history, and that."""
        rest: list[bytes] = []
        history: list[np.ndarray] = []
        for part in wire.fields(0, len(data)):
            if part.number == _HISTORY:
                wire.want(part, BYTES)
                history.append(weights.decode_blob(data[part.start : part.end], str(path)).data)
            else:
                rest.append(data[part.at : part.end])
        return rest, history

    rest, history = weights.decoded(data, str(path), "a .solverstate", apart)
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
    name: str | bytes = state.learned_net  # bytes where it is no UTF-8
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    snapshot = Snapshot(state.iter, name, state.current_step, history)
    snapshot.policy = {key: getattr(state, key) for key in POLICY_FIELDS if state.HasField(key)}
    return snapshot, state.caffepy_state


# ---- HDF5


def _fill_hdf5(snapshot: Snapshot, file: Any) -> None:
    name = snapshot.learned_net.encode()
    file["iter"] = np.array([snapshot.iteration], np.int32)
    # Caffe reads up to a NUL that must be part of the string.
    file.create_dataset("learned_net", data=np.array(name, f"S{len(name) + 1}"))
    file["current_step"] = np.array([snapshot.current_step], np.int32)
    for key, value in snapshot.policy.items():
        file[key] = np.array([value], np.int32 if isinstance(value, int) else np.float32)
    history = file.create_group("history")
    for index, array in enumerate(snapshot.history):
        history.create_dataset(str(index), data=array)
    file["caffepy_state"] = np.frombuffer(_notes(snapshot), np.uint8)


def _read_hdf5(path: Path) -> tuple[Snapshot, bytes]:
    """The state, still without `extra`, and the content of caffepy_state."""
    import h5py

    try:
        check_length(path, SnapshotError)
        with h5py.File(path, "r") as file:
            missing = {"iter", "history"} - set(file)
            if missing:
                raise SnapshotError(
                    f"{path}: expected a .solverstate.h5, got an HDF5 file without "
                    f"{' and '.join(sorted(missing))}. Give the .solverstate.h5; a .caffemodel.h5 "
                    "is for --weights."
                )
            history = file["history"]
            for blob in history.values():
                check_pieces(path, blob, SnapshotError)
            notes = file["caffepy_state"][()].tobytes() if "caffepy_state" in file else b""
            snapshot = Snapshot(
                int(np.ravel(file["iter"][()])[0]),
                _hdf5_name(file),
                int(np.ravel(file["current_step"][()])[0]) if "current_step" in file else 0,
                [history[str(index)][()] for index in range(len(history))],
            )
            snapshot.policy = {
                key: np.ravel(file[key][()])[0].item() for key in POLICY_FIELDS if key in file
            }
            return snapshot, notes
    except SnapshotError:
        raise
    except Exception as error:  # of a damaged file h5py raises nearly anything
        raise SnapshotError(f"{path}: cannot be read as a solver's state: {error}.") from None


def _hdf5_name(file: Any) -> str:
    name = file["learned_net"][()] if "learned_net" in file else b""
    return bytes(name).rstrip(b"\0").decode("utf-8", "replace")


# ---- caffepy's own notes


def _notes(snapshot: Snapshot) -> bytes:
    """The content of caffepy_state."""
    text = json.dumps(snapshot.extra, default=_packed).encode()
    return _digest(snapshot, text).encode() + b"\n" + text


def _digest(snapshot: Snapshot, text: bytes) -> str:
    """The SHA-256 of a state, `text` being its `extra`."""
    digest = hashlib.sha256(text)
    head: list[Any] = [snapshot.iteration, snapshot.learned_net, snapshot.current_step]
    if snapshot.policy:
        head.append(snapshot.policy)
    digest.update(json.dumps(head).encode())
    for array in snapshot.history:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
