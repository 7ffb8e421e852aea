"""caffepy test_detection: the mean average precision of a net that detects objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffepy.tools.common import (
    FileName,
    data_threads_option,
    layer_options,
    layer_types,
    open_net,
    set_option,
    state_options,
)
from caffepy.tools.engine_choice import EngineChoice, engine_options
from caffepy.tools.signal_effects import ignored_signal_options

if TYPE_CHECKING:
    from caffepy.engine.net import Net
    from caffepy.engine.solver.average_precision import DetectionPool
    from caffepy.proto.overrides import Override

ALL = ("11point", "MaxIntegral", "Integral")
ITERATIONS = 50  # where nothing says how many images there are


@click.command()
@click.option(
    "--model", required=True, type=FileName(), metavar="FILE", help="The net, a prototxt."
)
@click.option(
    "--weights",
    type=FileName(),
    metavar="A,B",
    help="Trained weights (.caffemodel[.h5]).",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    default=None,
    help="Batches to run. [default: what reads the net's database once, or else 50]",
)
@click.option(
    "--ap",
    type=click.Choice([*ALL, "all"]),
    default="all",
    help="How average precision is computed: at eleven recalls (VOC 2007), under the best "
    "precisions (VOC 2012) or under the precision itself. [default: all]",
)
@click.option(
    "--label-map",
    type=FileName(),
    metavar="FILE",
    help="A label map, for the classes' names. [default: the one that the net names, if there]",
)
@click.option(
    "--json", "target", type=FileName(), metavar="FILE", help="Write the results there as JSON."
)
@set_option("net's field: data.data_param.batch_size=4, detection_out.detection_output_param...")
@state_options
@engine_options
@data_threads_option
@layer_options
@ignored_signal_options
def command(
    model: str, weights: str | None, iterations: int | None, ap: str, label_map: str | None,
    target: str | None, level: int, stage: str, chosen: EngineChoice, data_threads: int | None,
    layers: tuple[str, ...], python_layers: bool, dialect: str, overrides: tuple[Override, ...],
) -> None:  # fmt: skip
    """Runs the net in phase TEST, pools what its DetectionEvaluate layers say of all batches, and
    prints the average precision of each class and their mean."""
    from caffepy.engine.core import log
    from caffepy.engine.solver.detection_scores import check_detects

    names = class_names(Path(label_map)) if label_map is not None else {}
    ops = chosen.make_ops()
    registry = layer_types(layers, python_layers)
    net = open_net(
        model,
        "TEST",
        level,
        stage,
        weights or "",
        ops,
        registry,
        overrides,
        keep=False,
        data_threads=data_threads,
        dialect=dialect,
    )
    try:
        if label_map is None and (named := label_map_of(net)) is not None:
            names = class_names(named)
        check_detects(net, "test_detection pools detections")
        if not weights and net.parameters.learnable:
            log.warning("No --weights: parameters are as their fillers make them.")
        iterations = batches_to_run(net, iterations)
        log.info(f"Running for {iterations} iterations.")
        pools = pooled(net, iterations)
    finally:
        net.close()
    versions = ALL if ap == "all" else (ap,)
    results = {name: result(pool, versions, names) for name, pool in pools.items()}
    for name, found in results.items():
        for line in lines(name, found, versions):
            click.echo(line)
    if target is not None:
        write(Path(target), iterations, results)


def class_names(label_map: Path) -> dict[int, str]:
    """What the classes of a label map are called. Raises: DataError, PrototxtError."""
    from caffepy.engine.data.label_map import read_label_map

    items = read_label_map(label_map).item
    return {item.label: item.display_name or item.name for item in items}


def label_map_of(net: Net) -> Path | None:
    """The first label map that a layer names and that is there."""
    for layer in net.layers:
        param = layer.param
        for name in (
            param.annotated_data_param.label_map_file,
            param.detection_output_param.save_output_param.label_map_file,
        ):
            if name and Path(name).is_file():
                return Path(name)
    return None


def batches_to_run(net: Net, asked: int | None) -> int:
    """How many batches: those that are asked for, or what reads the net's database once.

    Where not all records are read once, a warning says so.
    """
    from caffepy.engine.core import log
    from caffepy.engine.data.database_layer import DatabaseLayer

    source = next((layer for layer in net.layers if isinstance(layer, DatabaseLayer)), None)
    if source is None:
        return asked or ITERATIONS
    batch_size, records = source.param.data_param.batch_size, source.source.database.count
    batches = asked or -(-records // batch_size)
    images = batches * batch_size
    if images != records:
        log.warning(
            f"{batches} batches of {batch_size} are {images} images, and "
            f"'{source.source.database.path}' has {records}: "
            f"{'the others are left out' if images < records else 'some count more than once'}."
        )
    return batches


def pooled(net: Net, iterations: int) -> dict[str, DetectionPool]:
    """What each output says of so many batches."""
    from caffepy.engine.data.verdicts import VERDICT
    from caffepy.engine.solver.average_precision import DetectionPool
    from caffepy.tools.task import Task

    pools = {name: DetectionPool(f"net '{net.name}', output '{name}'") for name in net.outputs}
    with Task("batches", iterations) as task:
        for _ in range(iterations):
            net.forward()
            for name, pool in pools.items():
                pool.add(net.blobs[name].data.read().reshape(-1, VERDICT))
            task.advance()
    return pools


def result(
    pool: DetectionPool, versions: Sequence[str], names: Mapping[int, str]
) -> dict[str, Any]:
    """The mean average precisions of one output, and what they are the means of, as for JSON."""
    from caffepy.engine.solver.average_precision import mean_average_precision

    precisions = {version: pool.average_precisions(version) for version in versions}
    classes = [
        {
            "label": label,
            "name": names.get(label, ""),
            **counts._asdict(),
            "average_precision": {
                version: precisions[version][label] or 0.0 for version in versions
            },
        }
        for label, counts in pool.counts().items()
    ]
    means = {version: mean_average_precision(precisions[version]) for version in versions}
    return {"mean_average_precision": means, "classes": classes}


def lines(name: str, found: Mapping[str, Any], versions: Sequence[str]) -> list[str]:
    """One output's results as a table."""
    from caffepy.engine.table import printed

    counts = "objects", "detections", "hits"
    table = [["class", *counts, *versions]]
    for one in found["classes"]:
        precisions = [f"{one['average_precision'][version]:.6f}" for version in versions]
        label = f"{one['label']} {one['name']}".rstrip()
        table.append([label, *(str(one[count]) for count in counts), *precisions])
    means = [f"{found['mean_average_precision'][version]:.6f}" for version in versions]
    table.append(["mean", *("" for _ in counts), *means])
    return [name, *(f"  {line}" for line in printed(table, numbers_from=1))]


def write(path: Path, iterations: int, results: Mapping[str, Any]) -> None:
    """All results as a file of JSON. Raises: DataError."""
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.files import written_whole

    content = json.dumps({"iterations": iterations, "outputs": results}, indent=2)
    with written_whole(path, DataError) as temporary:
        temporary.write_text(content + "\n", encoding="utf-8")
    log.info(f"Wrote {path}")
