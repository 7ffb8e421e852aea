"""DetectionScores: the mean average precisions of a test net that detects."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core import log
from caffepy.engine.core.errors import NetError
from caffepy.engine.data.verdicts import VERDICT
from caffepy.engine.net import Net
from caffepy.engine.solver.average_precision import DetectionPool, mean_average_precision
from caffepy.engine.solver.scores import Output, Scores
from caffepy.proto.caffe_pb2 import SolverParameter

_DETECTION = "detection"  # an eval_type


class DetectionScores:
    """Pools the detections of a test's batches; the counterpart of Scores.

    version: of the average precision.  per_class: whether to log that of each class.
    """

    def __init__(self, net: Net, version: str, per_class: bool) -> None:
        self._net = net
        self._version = version
        self._per_class = per_class
        where = f"net '{net.name}', output"
        self._pools = {name: DetectionPool(f"{where} '{name}'") for name in net.outputs}
        self._precisions: dict[str, dict[int, float | None]] = {}
        self._loss = 0.0
        self._batches = 0

    def add(self) -> None:
        """Adds the outputs of the forward pass that has just run."""
        for name, pool in self._pools.items():
            pool.add(self._net.blobs[name].data.read().reshape(-1, VERDICT))
        self._loss += float(self._net.loss.read())
        self._batches += 1

    def means(self) -> list[Output]:
        """The mean average precision of every output, over all batches."""
        self._precisions = {
            name: pool.average_precisions(self._version) for name, pool in self._pools.items()
        }
        return [
            Output(index, name, mean_average_precision(by_label))
            for index, (name, by_label) in enumerate(self._precisions.items())
        ]

    def mean_loss(self) -> float:
        """The weighted loss, averaged over the batches."""
        return self._loss / max(self._batches, 1)

    def log(self, means: Sequence[Output]) -> None:
        """Logs what `means` gave, and what it was made of, as the fork words it."""
        for output in means:
            for label, precision in self._precisions[output.name].items():
                if precision is None:
                    log.warning(f"Missing true_pos for label: {label}")
                elif self._per_class:
                    log.info(f"class{label}: {precision:g}")
            log.info(f"    Test net output {output}")


def make_scores(net: Net, param: SolverParameter) -> Scores | DetectionScores:
    """What sums up one test of a test net."""
    if param.eval_type == _DETECTION:
        return DetectionScores(net, param.ap_version, param.show_per_class_result)
    return Scores(net)


def check_outputs(test_nets: Sequence[Net], param: SolverParameter) -> None:
    """Warns of detections that are not tested as such.

    Raises: NetError where a test net's outputs are not what the solver's eval_type takes.
    """
    for net in test_nets:
        if param.eval_type == _DETECTION:
            check_detects(net, 'the solver\'s eval_type is "detection"')
        elif any(layer.type == "DetectionEvaluate" for layer in net.layers):
            log.warning(
                f"Test net '{net.name}' judges detections, whose means say nothing: set the "
                'solver\'s eval_type to "detection" for their average precision.'
            )


def check_detects(net: Net, since: str) -> None:
    """Raises: NetError where the outputs of a net are not those of DetectionEvaluate layers.

    since: why they should be.
    """
    if not net.outputs:
        raise NetError(
            f"net '{net.name}': expected an output, since {since}, got none. Add a "
            "DetectionEvaluate layer."
        )
    shapes = {name: net.blobs[name].shape for name in net.outputs}
    others = [name for name, shape in shapes.items() if not _is_evaluated(shape)]
    if others:
        remedy = "Put a Silence layer on it."
        if len(others) == len(shapes):
            remedy = "Give a net that has such a layer in phase TEST."
        raise NetError(
            f"net '{net.name}': output '{others[0]}': expected the top of a DetectionEvaluate "
            f"layer, shape (1, 1, rows, {VERDICT}), since {since}, got shape {shapes[others[0]]}. "
            f"{remedy}"
        )


def _is_evaluated(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == VERDICT
