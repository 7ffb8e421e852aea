"""The nets of a solver: made, and given their weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from caffepy.engine.copied import CopyTable
from caffepy.engine.core import log
from caffepy.engine.net import Net
from caffepy.engine.solver.sources import NetSource
from caffepy.engine.weights import load_weights_list
from caffepy.proto.caffe_pb2 import SolverParameter

MakeNet = Callable[..., Net]


def make_nets(
    make_net: MakeNet,
    source: NetSource,
    tests: Sequence[NetSource],
    param: SolverParameter,
    on_mismatch: str,
) -> tuple[Net, list[Net]]:
    """The train net and the test nets, with the solver's weights. Parameters that a test net has in
    common with the train net are the same memory.

    make_net: called with parameters and state of a net, and its folders.  source: the train net's.
    on_mismatch: `error` or `skip` for weights that do not fit; the log tells what was skipped.

    Raises: NetError, WeightsError; the nets are then closed.
    """

    def make(source: NetSource, must_match: bool) -> tuple[Net, list[CopyTable]]:
        net = make_net(source.param, source.state, folders=source.folders)
        made.callback(net.close)
        net.check_layers()
        tables = [
            table
            for paths in param.weights
            for table in load_weights_list(
                net, paths, must_match=must_match, on_mismatch=on_mismatch
            )
        ]
        return net, tables

    with contextlib.ExitStack() as made:
        log.info(f"Creating training net {source.label}")
        train_net, copied = make(source, True)
        if on_mismatch == "skip":
            for table in copied:
                log.info(f"What was copied:\n{table}")
        test_nets = []
        for index, test in enumerate(tests):
            log.info(f"Creating test net (#{index}) {test.label}")
            net, _ = make(test, False)
            net.debug_info = param.debug_info
            net.share_parameters(train_net)
            test_nets.append(net)
        made.pop_all()
    return train_net, test_nets
