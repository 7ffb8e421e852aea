"""caffepy test: scores weights on the test net of a prototxt."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from caffepy.proto.overrides import Override


@click.command()
@click.option(
    "--model", required=True, type=FileName(), metavar="FILE", help="The net, a prototxt."
)
@click.option(
    "--weights",
    required=True,
    type=FileName(),
    metavar="A,B",
    help="Trained weights (.caffemodel[.h5]).",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    help="Batches to run. [default: 50]",
)
@set_option("net's field: fc6.inner_product_param.num_output=10, data.data_param.batch_size=4")
@state_options
@engine_options
@data_threads_option
@layer_options
@ignored_signal_options
def command(
    model: str, weights: str, iterations: int, level: int, stage: str,
    chosen: EngineChoice, data_threads: int | None, layers: tuple[str, ...],
    python_layers: bool, dialect: str, overrides: tuple[Override, ...],
) -> None:  # fmt: skip
    """Runs the net in phase TEST and prints every output per batch, then the means."""
    from caffepy.engine.core import log

    ops = chosen.make_ops()
    registry = layer_types(layers, python_layers)
    net = open_net(
        model,
        "TEST",
        level,
        stage,
        weights,
        ops,
        registry,
        overrides,
        keep=False,
        data_threads=data_threads,
        dialect=dialect,
    )
    try:
        if any(layer.type == "DetectionEvaluate" for layer in net.layers):
            log.warning(
                "The means of detections say nothing: `caffepy test_detection` computes their "
                "average precision."
            )
        log.info(f"Running for {iterations} iterations.")
        total_loss = 0.0
        totals: dict[tuple[str, int], float] = {}
        for batch in range(iterations):
            net.forward()
            total_loss += float(net.loss.read())
            for name in net.outputs:
                for index, number in enumerate(net.blobs[name].data.read().reshape(-1).tolist()):
                    totals[name, index] = totals.get((name, index), 0.0) + number
                    log.info(f"Batch {batch}, {name} = {number:g}")
        log.info(f"Loss: {total_loss / iterations:g}")
        for (name, _), total in totals.items():
            mean = total / iterations
            weight = net.loss_weights.get(name, 0.0)
            share = f" (* {weight:g} = {weight * mean:g} loss)" if weight else ""
            log.info(f"{name} = {mean:g}{share}")
    finally:
        net.close()
