"""caffepy extract_features: the content of blobs, for every sample, into databases or files."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import click

from caffepy.tools.common import layer_options, layer_types, open_net, state_options
from caffepy.tools.engine_choice import EngineChoice, engine_options

if TYPE_CHECKING:
    from caffepy.engine.net import Net

LOG_EVERY = 1000  # samples


@click.command()
@click.argument("weights")
@click.argument("model")
@click.argument("blobs")
@click.argument("outputs")
@click.argument("num_mini_batches", type=click.IntRange(1))
@click.argument("db_type")
@click.argument(
    "device", type=click.Choice(["CPU", "GPU"]), default="CPU", metavar="[CPU|GPU]", required=False
)
@click.argument("device_id", default="0", metavar="[DEVICE_ID=0]", required=False)
@state_options
@engine_options
@layer_options
def command(
    weights: str, model: str, blobs: str, outputs: str, num_mini_batches: int, db_type: str,
    device: str, device_id: str, level: int, stage: str, chosen: EngineChoice,
    layers: tuple[str, ...], python_layers: bool, dialect: str,
) -> None:  # fmt: skip
    """Runs the net MODEL with WEIGHTS in phase TEST, and writes what BLOBS (a,b,...) hold to
    OUTPUTS (one for each blob), sample by sample.

    MODEL has a layer that reads data. DB_TYPE is lmdb or leveldb, for databases of Datum with
    float_data, or hdf5 or npz, for files with an array under each blob's name (one file for all
    blobs where OUTPUTS is one name; what becomes an npz file is kept in memory until the end).
    """
    from caffepy.engine.core import log

    if device == "GPU":
        chosen = dataclasses.replace(chosen, gpu=device_id.rpartition("=")[2])
        log.error("Using GPU")
        log.error(f"Using Device_id={chosen.gpu}")
    elif not chosen.gpu:
        log.error("Using CPU")
    names, places = blobs.split(","), outputs.split(",")
    registry = layer_types(layers, python_layers)
    ops = chosen.make_ops()
    net = open_net(model, "TEST", level, stage, weights, ops, registry, dialect=dialect)
    try:
        extract(net, names, places, num_mini_batches, db_type)
    finally:
        net.close()


def extract(net: Net, names: list[str], places: list[str], batches: int, kind: str) -> int:
    """Writes the blobs `names` of so many forward passes to `places`; returns the samples.

    Raises: DataError where a blob does not exist or has no samples, or a place cannot be written.
    """
    from caffepy.engine.core import log
    from caffepy.tools.feature_files import open_files
    from caffepy.tools.task import Task

    _check_blobs(net, names)
    counts = dict.fromkeys(names, 0)
    with contextlib.ExitStack() as stack:
        files = open_files(stack, kind, names, places)
        log.error("Extracting Features")
        with Task("batches", batches) as task:
            for _ in range(batches):
                net.forward()
                for name, file in zip(names, files, strict=True):
                    rows = net.blobs[name].data.read()
                    file.add(name, rows)
                    before, counts[name] = counts[name], counts[name] + len(rows)
                    if counts[name] // LOG_EVERY > before // LOG_EVERY:
                        _log_count(counts[name] // LOG_EVERY * LOG_EVERY, name)
                task.advance()
        for name in names:
            if counts[name] % LOG_EVERY:
                _log_count(counts[name], name)
    log.error("Successfully extracted the features!")
    return max(counts.values())


def _log_count(count: int, name: str) -> None:
    from caffepy.engine.core import log

    log.error(f"Extracted features of {count} query images for feature blob {name}")


def _check_blobs(net: Net, names: list[str]) -> None:
    """Raises: DataError."""
    from caffepy.engine.core.errors import DataError
    from caffepy.proto.errors import did_you_mean

    for name in names:
        if name not in net.blobs:
            near = did_you_mean(name, net.blobs) or f" It has {', '.join(net.blobs)}."
            raise DataError(
                f"blob '{name}': expected one of net '{net.name}', got none of this name.{near}"
            )
        if not net.blobs[name].shape:
            raise DataError(
                f"blob '{name}': expected one with an axis of samples, got a single number. "
                "Choose another, or use `caffepy test`."
            )
