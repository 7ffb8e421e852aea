"""caffepy time: how long each layer takes, forward and backward, or what runs in its place."""

from __future__ import annotations

from itertools import pairwise
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
    from caffepy.engine.net import Net
    from caffepy.proto.overrides import Override


@click.command()
@click.option(
    "--model", required=True, type=FileName(), metavar="FILE", help="The net, a prototxt."
)
@click.option("--weights", default="", metavar="A,B", help="Weights to time with.")
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    help="Passes to time. [default: 50]",
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    metavar="TRAIN|TEST",
    default="TRAIN",
    help="Phase of the net. [default: TRAIN]",
)
@click.option(
    "--fused",
    is_flag=True,
    help="Time whole steps and the groups in which they run, not each layer on its own.",
)
@set_option("net's field: fc6.inner_product_param.num_output=10, data.data_param.batch_size=4")
@state_options
@engine_options
@data_threads_option
@layer_options
@ignored_signal_options
def command(
    model: str, weights: str, iterations: int, phase: str, fused: bool, level: int, stage: str,
    chosen: EngineChoice, data_threads: int | None, layers: tuple[str, ...],
    python_layers: bool, dialect: str, overrides: tuple[Override, ...],
) -> None:  # fmt: skip
    """Times every layer of a net on its own, forward and backward, in milliseconds.

    Each layer is shaped and called anew, as Caffe does it; a net that runs as a whole is quicker:
    neighbours run as one, and nothing is shaped again. --fused shows that: in phase TRAIN the time
    of a training step (forward, backward, update by SGD with momentum and weight decay, which
    change no weight here), in phase TEST that of a forward pass, group by group.

    On a GPU its own clock measures, and the whole step runs as CUDA graphs; the times of groups are
    those of steps launched one by one.
    """
    from caffepy.engine.core import log
    from caffepy.tools.fused_times import FusedTimes

    ops = chosen.make_ops()
    registry = layer_types(layers, python_layers)
    net = open_net(
        model,
        phase,
        level,
        stage,
        weights,
        ops,
        registry,
        overrides,
        keep=not fused,
        data_threads=data_threads,
        dialect=dialect,
    )
    try:
        log.info("Performing Forward")
        net.forward()
        log.info(f"Initial loss: {float(net.loss.read()):g}")
        log.info("Performing Backward")
        net.backward()
        log.info("*** Benchmark begins ***")
        log.info(f"Testing for {iterations} iterations.")
        if fused:
            for line in FusedTimes(net).table(iterations):
                log.info(line)
        else:
            _time_layers(net, iterations)
        log.info("*** Benchmark ends ***")
    finally:
        net.close()


def _time_layers(net: Net, iterations: int) -> None:
    """Times the layers one by one in their order, both ways, and logs Caffe's table."""
    from caffepy.engine.core import log
    from caffepy.tools.stopwatch import stopwatch

    watch, count = stopwatch(net.ops), len(net.layers)
    forward_ms, backward_ms = [0.0] * count, [0.0] * count
    both_ms = []
    for iteration in range(1, iterations + 1):
        marks = [watch.mark()]
        for index in range(count):
            net.forward(index, index, look=False)
            marks.append(watch.mark())
        for index in reversed(range(count)):
            net.backward(index, index)
            marks.append(watch.mark())
        laps = [watch.ms(*ends) for ends in pairwise(marks)]
        forward_ms = [sum(one) for one in zip(forward_ms, laps[:count], strict=True)]
        backward_ms = [sum(one) for one in zip(backward_ms, laps[: -count - 1 : -1], strict=True)]
        both_ms.append(watch.ms(marks[0], marks[-1]))
        net.ops.check()
        log.info(f"Iteration: {iteration} forward-backward time: {both_ms[-1]:g} ms.")
    log.info("Average time per layer: ")
    for index, layer in enumerate(net.layers):
        log.info(f"{layer.name:>10}\tforward: {forward_ms[index] / iterations:g} ms.")
        log.info(f"{layer.name:>10}\tbackward: {backward_ms[index] / iterations:g} ms.")
    log.info(f"Average Forward pass: {sum(forward_ms) / iterations:g} ms.")
    log.info(f"Average Backward pass: {sum(backward_ms) / iterations:g} ms.")
    log.info(f"Average Forward-Backward: {sum(both_ms) / iterations:g} ms.")
    log.info(f"Total Time: {sum(both_ms):g} ms.")
