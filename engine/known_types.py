"""Layer types that exist elsewhere, for the message to who asks for one that is not registered."""

from __future__ import annotations

from collections.abc import Iterable

from caffepy.engine.fork_types import FORK_OF, INSTEAD
from caffepy.proto.errors import did_you_mean

# BVLC Caffe's own types.
_BVLC = """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution
    Crop Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten
    HDF5Data HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit
    Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU
    Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax
    SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
"""

_LOAD = "--layers FILE, in Python caffepy.load_layers('FILE')"


def unknown_type(layer_type: str, registered: Iterable[str]) -> str:
    """What to say of a type that is not registered: where it is known from, and what to do."""
    own = f"Take the layer out, or load one of your own under this name ({_LOAD})."
    if not layer_type:
        return 'expected a `type`, got none. Write it, as in type: "Convolution".'
    if layer_type in _BVLC.split():
        return f"type '{layer_type}' is one of Caffe's, not implemented in this version. {own}"
    if layer_type in FORK_OF:
        if layer_type in INSTEAD:
            own = (
                f"{INSTEAD[layer_type]} Or load one of your own under this name ({_LOAD}). "
                "docs/forks.md says more."
            )
        fork = FORK_OF[layer_type]
        return f"type '{layer_type}' is known from the {fork} fork, not implemented. {own}"
    known = (*registered, *_BVLC.split(), *FORK_OF)  # nearest first to what can be had
    remedy = did_you_mean(layer_type, registered) or did_you_mean(layer_type, known)
    remedy = remedy or (
        f" Use one of {', '.join(registered)}, or load the file that registers it: {_LOAD}."
    )
    return f"type '{layer_type}' does not exist.{remedy}"


def is_caffes(layer_type: str) -> bool:
    """Whether BVLC Caffe has a layer type of this name."""
    return layer_type in _BVLC.split()
