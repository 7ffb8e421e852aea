"""What a run was made of, as prototxt that gives the same run again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.message import Message

from caffepy.engine.net import Net
from caffepy.engine.solver.sources import TEST_FIELDS, TRAIN_FIELDS
from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter
from caffepy.proto.fields import is_repeated

# Fields of layers that name a file or folder to read.
_FILES = ("source", "mean_file", "root_folder")


def resolved_net(net: Net) -> NetParameter:
    """The net as it was built: upgraded, overridden, without the layers of other phases and the
    rules that say so. Files found only in a folder of the prototxts get their path from here."""
    param = NetParameter()
    param.CopyFrom(net.definition)
    for layer in param.layer:
        layer.ClearField("include")
        layer.ClearField("exclude")
    for message, field in files_in(param):
        name = getattr(message, field)
        found = _found(name, net.context.folders)
        if found is not None and not os.path.exists(name):
            # a folder's name may be a prefix of others: its last / stays
            setattr(message, field, str(found) + ("/" if name.endswith("/") else ""))
    return param


def resolved_solver(
    param: SolverParameter, seed: int, train_net: Path, test_nets: Sequence[Path]
) -> SolverParameter:
    """The solver with the seed it took, and with these files as its nets."""
    resolved = SolverParameter()
    resolved.CopyFrom(param)
    for field in (*TRAIN_FIELDS, *TEST_FIELDS, "train_state", "test_state"):
        resolved.ClearField(field)  # the states are in the nets
    resolved.train_net = str(train_net)
    resolved.test_net.extend(str(path) for path in test_nets)
    resolved.random_seed = seed
    return resolved


def files_in(message: Message) -> Iterator[tuple[Message, str]]:
    """The messages and fields, at any depth, that name a file or folder to read."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if is_repeated(field) else (value,):
                yield from files_in(child)
        elif field.name in _FILES and isinstance(value, str) and value:
            yield message, field.name


def input_files(net: Net) -> Iterator[Path]:
    """The files and folders that a net's layers name, where they exist."""
    for message, field in files_in(net.definition):
        found = _found(getattr(message, field), net.context.folders)
        if found is not None and field != "root_folder":
            yield found


def _found(name: str, folders: Sequence[Path]) -> Path | None:
    """What a layer finds under a name."""
    return next((path for folder in folders if (path := folder / name).exists()), None)
