"""Labels that are no class, through the real commands: refused with the sample's key or row."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from caffepy.engine.data.db import create_db
from tests.integration.refusals import Run, record

REST = """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 9 random_seed: 1
snapshot_prefix: "s"
"""
COMMANDS = {
    "train": ("train", "-solver=solver.prototxt", "-engine=numpy"),
    "test": ("test", "-model=net.prototxt", "-weights=w.caffemodel", "-iterations=9"),
    "time": ("time", "-model=net.prototxt", "-iterations=9"),
}


def data_layer(backend: str, batch_size: int = 4) -> str:
    return (
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param '
        f'{{ source: "db" backend: {backend} batch_size: {batch_size} }} }}\n'
    )


def hdf5_layer(options: str = "") -> str:
    return (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param '
        f'{{ source: "list.txt" batch_size: 4 {options} }} }}\n'
    )


def write_db(backend: str, labels: Sequence[int]) -> None:
    shutil.rmtree("db", ignore_errors=True)
    with create_db(Path("db"), backend) as database:
        for number, label in enumerate(labels):
            database.put(b"%08d" % number, record(label=label))


def write_hdf5(*files: Sequence[float]) -> None:
    for number, labels in enumerate(files):
        with h5py.File(f"{number}.h5", "w") as file:
            file["data"] = np.ones((len(labels), 2), np.float32)
            file["label"] = np.asarray(labels, np.float32)
    Path("list.txt").write_text("".join(f"{number}.h5\n" for number in range(len(files))))


def write_net(run: Run, text: str) -> None:
    """The net, its solver, and weights for `test`."""
    Path("net.prototxt").write_text(text)
    Path("solver.prototxt").write_text(SOLVER)
    first = SOLVER.replace("max_iter: 9", "max_iter: 1").replace('"s"', '"w"')
    Path("first.prototxt").write_text(first)
    status, message = run("train", "-solver=first.prototxt")
    assert status == 0, message
    Path("w_iter_1.caffemodel").rename("w.caffemodel")


def assert_named(run: Run, wanted: str, *arguments: str) -> None:
    """Status 1 and one paragraph that says `wanted`."""
    status, message = run(*arguments)
    assert status == 1, message
    assert wanted in message
    assert message.startswith("caffepy: net.prototxt:")
    assert "\n" not in message


GOOD = [0, 1, 2, 0]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
def test_a_label_that_is_no_class_is_refused_with_its_key(
    run: Run, backend: str, command: str
) -> None:
    write_db(backend, GOOD)
    write_net(run, data_layer(backend) + REST)
    write_db(backend, [*GOOD, 0, 1, 11, 12])  # in the second batch: steps are replayed by then
    layer, line = ("acc' (Accuracy)", 4) if command == "test" else ("loss' (SoftmaxWithLoss)", 6)
    assert_named(
        run,
        f"caffepy: net.prototxt:{line}: layer '{layer}: label blob 'label', sample 2 of the batch "
        "(record '00000006' of 'db'): expected 0 to 2, got 11. Correct the data, give the layer "
        "below as many outputs as there are classes, or set ignore_label.",
        *COMMANDS[command],
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_row_of_hdf5_is_named(run: Run, command: str) -> None:
    write_hdf5(GOOD)
    write_net(run, hdf5_layer() + REST)
    write_hdf5([*GOOD, 1], [2, 0, -1])  # the second batch has rows of both files
    assert_named(
        run,
        "sample 3 of the batch (row 2, counted from 0, of dataset 'label' of '1.h5'): expected 0 "
        "to 2, got -1.",
        *COMMANDS[command],
    )


def test_a_shuffled_row_is_named_by_its_place_in_the_file(run: Run) -> None:
    write_hdf5(GOOD, GOOD)
    write_net(run, hdf5_layer("shuffle: true") + REST)
    write_hdf5([0] * 7, [1, 2, 1, 9, 1, 1])
    wanted = "(row 3, counted from 0, of dataset 'label' of '1.h5'): expected 0 to 2"
    assert_named(run, wanted, *COMMANDS["train"])


def test_a_line_of_an_image_list_is_named(run: Run) -> None:
    for name in "abcde":
        cv2.imwrite(f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    images = (
        'layer { name: "d" type: "ImageData" top: "data" top: "label"\n'
        '  image_data_param { source: "list.txt" batch_size: 2 } }\n'
    )
    Path("list.txt").write_text("a.png 0\nb.png 1\n")
    write_net(run, images + REST)
    Path("list.txt").write_text("a.png 0\nb.png 1\nc.png 2\n\nd.png 3\n")
    assert_named(
        run,
        "sample 1 of the batch ('d.png', line 5 of 'list.txt'): expected 0 to 2, got 3.",
        *COMMANDS["train"],
    )


@pytest.mark.parametrize(
    ("label", "wanted"), [(np.nan, "got nan"), (np.inf, "got inf"), (1e30, "got 1e+30")]
)
def test_labels_that_are_no_numbers_are_refused(run: Run, label: float, wanted: str) -> None:
    write_hdf5(GOOD)
    write_net(run, hdf5_layer() + REST)
    write_hdf5([0, label, 2, 1])
    assert_named(
        run,
        f"(row 1, counted from 0, of dataset 'label' of '0.h5'): expected 0 to 2, {wanted}",
        *COMMANDS["train"],
    )


def test_labels_are_cut_to_integers_and_ignored_ones_may_be_anything(run: Run) -> None:
    write_hdf5([0.9, 2.5, 255, -0.5])
    ignoring = REST.replace(
        'top: "loss" }', 'top: "loss" loss_param { ignore_label: 255 } }'
    ).replace('top: "acc"', 'top: "acc" accuracy_param { ignore_label: 255 }')
    write_net(run, hdf5_layer() + ignoring)
    for command in COMMANDS.values():
        status, message = run(*command)
        assert status == 0, message
    write_hdf5([0.9, 2.5, 254, -0.5])
    assert_named(run, "expected 0 to 2 or ignore_label 255, got 254.", *COMMANDS["train"])


def test_a_training_keeps_its_snapshots(run: Run) -> None:
    write_db("LMDB", GOOD)
    write_net(run, data_layer("LMDB") + REST)
    write_db("LMDB", [*GOOD, *GOOD, 3])
    Path("solver.prototxt").write_text(SOLVER + "snapshot: 1")
    assert_named(run, "(record '00000008' of 'db')", *COMMANDS["train"])
    assert sorted(path.name for path in Path().glob("s_iter_*")) == [
        f"s_iter_{number}.{ending}" for number in (1, 2) for ending in ("caffemodel", "solverstate")
    ]
