"""The net that trains from every source of data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data.prefetching_layer import PrefetchingDataLayer
from caffepy.models.job import Job
from caffepy.models.sources import data, run
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.nets import make_net


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and a net for each source."""
    folder = tmp_path_factory.mktemp("sources") / "job"
    Job(folder, "caffepy.models.sources", run.FILES, run.WRITTEN).begin()
    data.write_all(folder)
    for source in run.SOURCES:
        run.write_net(folder, source)
    return folder


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("source", [name for name in run.SOURCES if name != "memory"])
def test_a_source_gives_digits_with_their_labels(source: str, phase: int, folder: Path) -> None:
    net = make_net(folder / f"{source}_net.prototxt", phase=phase, folders=(folder,))
    net.forward()
    pixels, labels = (net.blobs[name].data.read() for name in ("data", "label"))
    assert len(pixels) == len(labels) == (48 if phase == TRAIN or source == "dummy" else 60)
    assert 0 <= pixels.min() < 0.1
    assert 0.9 < pixels.max() <= 1
    assert set(labels) <= set(range(11))
    assert np.isfinite(net.loss.read())
    net.close()


def test_training_from_memory(folder: Path) -> None:
    solver = folder / "memory_solver.prototxt"
    solver.write_text(
        re.sub("(max_iter|snapshot|test_interval): 150", r"\1: 8", solver.read_text())
    )
    assert 0.1 < run.train_from_memory(folder) <= 1


def test_every_layer_that_reads_data_has_its_source(folder: Path) -> None:
    texts = "".join((folder / f"{source}.prototxt").read_text() for source in run.SOURCES)
    readers = {name for name, cls in LAYERS.items() if issubclass(cls, PrefetchingDataLayer)}
    readers -= {"AnnotatedData"}  # models/ssd_shapes has it: its labels are boxes
    for name in readers | {"HDF5Data", "MemoryData", "DummyData"}:
        assert f'type: "{name}"' in texts


@pytest.mark.slow
def test_the_whole_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run.main(tmp_path / "job") == 0
    assert re.search(r"\nwindows +0\.9\d+ ", capfd.readouterr().out)
    Job(tmp_path / "job", "caffepy.models.sources", run.FILES, run.WRITTEN).begin()  # in its place
    assert {path.name for path in (tmp_path / "job").iterdir()} == set(run.FILES)
