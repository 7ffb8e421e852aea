"""caffe.draw: a net as a picture, by Graphviz.

The text that Graphviz draws (endings dot, gv and raw) needs nothing besides; other endings (png,
svg, pdf, ...) need its program `dot`, and get_pydot_graph the package pydot.
Source: python/caffe/draw.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.files import written_whole
from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter
from caffepy.proto.upgrade import upgrade_net

__all__ = [
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_dot_text",
    "get_edge_label",
    "get_layer_label",
    "get_layer_lr_mult",
    "get_pooling_types_dict",
    "get_pydot_graph",
]

_BLOB_STYLE = 'fillcolor="#E0E0E0", shape=octagon, style=filled'
_IN_PLACE_COLOR = "#90EE90"
_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_OTHER_COLOR = "#6495ED"
_LEARNING = ("Convolution", "Deconvolution", "InnerProduct")
_DIRECTIONS = ("LR", "RL", "TB", "BT")
_TEXT = ("dot", "gv", "raw")


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the kinds of pooling by number."""
    return {number: name for name, number in PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: LayerParameter) -> str:
    """What stands at the edge out of a layer: the batch size of a Data layer, the number of outputs
    of those that have one, else ''."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return ""


def get_layer_lr_mult(layer: LayerParameter) -> tuple[float, float]:
    """The factors on the learning rate of weights and bias. Raises: ValueError for layers of other
    types than Convolution, Deconvolution and InnerProduct."""
    if layer.type not in _LEARNING:
        raise ValueError(
            f"layer '{layer.name}' ({layer.type}): get_layer_lr_mult: expected one of "
            f"{', '.join(_LEARNING)}. Read layer.param for others."
        )
    factors = [param.lr_mult for param in layer.param[:2]] + [1.0, 1.0]
    return factors[0], factors[1]


def get_layer_label(layer: LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """What stands in the node of a layer: its name and type, and the numbers of its window.

    display_lrm: also the factors on the learning rate.
    """
    separator = r"\n" if rankdir in ("TB", "BT") else " "
    words = [layer.name, f"({layer.type})"]
    if layer.type == "Pooling":
        pooling = layer.pooling_param
        words[1] = f"({get_pooling_types_dict()[pooling.pool]} Pooling)"
        words += _window(
            pooling.kernel_size or pooling.kernel_h, pooling.stride, pooling.pad or pooling.pad_h
        )
    elif layer.type in ("Convolution", "Deconvolution"):
        param = layer.convolution_param
        words += _window(
            (*param.kernel_size, param.kernel_h or 1)[0],
            (*param.stride, param.stride_h or 1)[0],
            (*param.pad, param.pad_h)[0],
        )
    if display_lrm and layer.type in _LEARNING:
        words.append("lr mult: {:.1f}, {:.1f}".format(*get_layer_lr_mult(layer)))
    return separator.join(words)


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer's node, as #RRGGBB."""
    return _COLORS.get(layertype, _OTHER_COLOR)


def get_dot_text(
    caffe_net: NetParameter,
    rankdir: str = "LR",
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> str:
    """The graph of a net in Graphviz' language.

    rankdir: the direction, LR, RL, TB or BT.  label_edges: say what get_edge_label does.
    phase: caffe.TRAIN or caffe.TEST leaves out the layers of the other phase; None takes all.
    Raises: ValueError for another direction.
    """
    if rankdir not in _DIRECTIONS:
        raise ValueError(f"draw: rankdir: expected one of {', '.join(_DIRECTIONS)}, got {rankdir}.")
    lines = [f"digraph {_quoted(caffe_net.name or 'Net')} {{", f"rankdir={rankdir};"]
    blobs: dict[str, None] = {}
    edges = []
    for index, layer in enumerate(upgrade_net(caffe_net).layer):
        if phase is not None and not _included(layer, phase):
            continue
        in_place = list(layer.bottom) == list(layer.top) and len(layer.top) == 1
        color = _IN_PLACE_COLOR if in_place else choose_color_by_layertype(layer.type)
        label = _quoted(get_layer_label(layer, rankdir, display_lrm))
        node = f"layer{index}"
        lines.append(f'{node} [label={label}, fillcolor="{color}", shape=box, style=filled];')
        blobs.update(dict.fromkeys((*layer.bottom, *layer.top)))
        edges += [f"{_blob(name)} -> {node};" for name in layer.bottom]
        text = get_edge_label(layer) if label_edges else ""
        edges += [f"{node} -> {_blob(name)} [label={_quoted(text)}];" for name in layer.top]
    lines += [f"{_blob(name)} [label={_quoted(name)}, {_BLOB_STYLE}];" for name in blobs]
    return "\n".join([*lines, *edges, "}\n"])


def get_pydot_graph(
    caffe_net: NetParameter,
    rankdir: str = "LR",
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """The graph of a net as a pydot.Dot; the arguments are get_dot_text's.

    Raises: DeviceError where pydot is missing.
    """
    try:
        import pydot
    except ImportError as error:
        raise DeviceError(
            f"draw: the package pydot is missing ({error}). Run `pip install pydot`, or take "
            "get_dot_text."
        ) from None
    text = get_dot_text(caffe_net, rankdir, label_edges, phase, display_lrm)
    return pydot.graph_from_dot_data(text)[0]


def draw_net(
    caffe_net: NetParameter,
    rankdir: str = "LR",
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """The bytes of a picture of a net.

    ext: its type: dot, gv or raw for the text itself, else one that Graphviz writes.
    Raises: DeviceError where Graphviz is missing or cannot write this type; ValueError as
    get_dot_text.
    """
    text = get_dot_text(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).encode()
    if ext in _TEXT:
        return text
    program = shutil.which("dot")
    if program is None:
        raise DeviceError(
            f"draw: '{ext}': Graphviz' program dot is missing. Install it (apt-get install "
            "graphviz, brew install graphviz), or take the ending dot for the text."
        )
    run = subprocess.run([program, f"-T{ext}"], input=text, capture_output=True, check=False)
    if run.returncode:
        told = " ".join(run.stderr.decode("utf-8", "replace").split())
        raise DeviceError(f"draw: '{ext}': Graphviz cannot ({told}). Take png, svg or pdf.")
    return run.stdout


def draw_net_to_file(
    caffe_net: NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Writes a picture of a net; its type is the ending of the file's name, see draw_net.

    Raises: as draw_net; DataError where the file cannot be written.
    """
    path = Path(filename)
    picture = draw_net(caffe_net, rankdir, path.suffix[1:].lower(), phase, display_lrm)
    with written_whole(path, DataError) as temporary:
        temporary.write_bytes(picture)


def _window(*sizes: int) -> Iterator[str]:
    for name, size in zip(("kernel size", "stride", "pad"), sizes, strict=True):
        yield f"{name}: {size}"


def _included(layer: LayerParameter, phase: int) -> bool:
    """Whether a layer is in the net of a phase, by its rules' phases alone."""
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _blob(name: str) -> str:
    return _quoted(f"{name}_blob")


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', r"\""))
