"""Prototxts as people wrote them: all are read, but for those that are mistaken."""

from __future__ import annotations

import csv

import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError
from caffepy.proto.filter import filter_net
from caffepy.proto.splits import insert_splits
from caffepy.proto.upgrade import upgrade_net, upgrade_solver

MISTAKEN = {
    "solver/MyCaffe__MyCaffe__solver.prototxt": (
        ":8:12: lr_policy: expected a quoted string, got 'fixed'. Write lr_policy: \"fixed\"."
    ),
    "solver/YifeiAI__DeepLogCORAL__solver.prototxt": (
        ":6:1: test_iter: expected a whole number, got 'test_interval'."
        " The value of test_iter seems to be missing."
    ),
    "fork-train/YifeiAI__DeepLogCORAL__train.prototxt": (
        ":496:3: layer 'Mean_loss': loss_weight: expected a number, got 'include'."
        " The value of loss_weight seems to be missing."
    ),
}
# Layer blocks that no field of the union stands for.
UNKNOWN = {"multi_stage_meanfield_param", "pooling_nd_param", "quartet_loss_param"}


def test_wild_prototxts_are_read_or_refused_with_place_and_reason(shared):
    folder = shared / "wildprototxt"
    with (folder / "SOURCES.tsv").open(encoding="utf-8", newline="") as lines:
        files = [row["file"] for row in csv.DictReader(lines, delimiter="\t")]
    assert len(files) > 50
    assert set(MISTAKEN) <= set(files)
    unknown = set()
    for file in files:
        kind = pb.SolverParameter if file.startswith("solver/") else pb.NetParameter
        if file in MISTAKEN:
            with pytest.raises(PrototxtError) as error:
                text.read(folder / file, kind)
            assert str(error.value) == f"{folder / file}{MISTAKEN[file]}"
            continue
        message = text.read(folder / file, kind)
        again = text.parse(text.write(message), kind)
        if isinstance(message, pb.SolverParameter):
            assert again == message
            upgrade_solver(message)
            continue
        unknown |= {block.name for layer in message.layer for block in layer.unknown_param}
        net = upgrade_net(message)
        assert all(layer.source_line for layer in net.layer if layer.name != "input")
        for phase in (pb.TRAIN, pb.TEST):
            state = pb.NetState(phase=phase)
            try:
                insert_splits(filter_net(net, state))
            except PrototxtError as error:  # a deploy net has no blobs for phase TRAIN, say
                assert "is made by no layer before this one" in str(error)  # noqa: PT017
    assert unknown == UNKNOWN
