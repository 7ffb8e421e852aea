"""caffe.coord_map: where the pixels of one top lie in another, and crops that make them agree.

A map is (axis, scale, shift): what is at position x in the one is at scale x + shift in the other,
on the axes after `axis`, which is that of the channels; (None, 1, 0) is the identity.
Source: python/caffe/coord_map.py; Shelhamer, Long and Darrell, arXiv:1605.06211.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, TypeAlias

import numpy as np

from caffepy.engine.core.errors import NetError
from caffepy.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "PASS_THROUGH_LAYERS",
    "AxisMismatchException",
    "UndefinedMapException",
    "compose",
    "conv_params",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "crop_params",
    "inverse",
]

PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp", "MVN",
    "Power", "ReLU", "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
]  # fmt: skip

_ONE_AXIS_EACH = ("pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w")

Map: TypeAlias = "tuple[int | None, Any, Any]"  # scale and shift: a number, or one for each axis


class UndefinedMapException(NetError):
    """A layer of this type has no such map."""


class AxisMismatchException(NetError):
    """Two maps are for different axes."""


class UnconnectedError(NetError):
    """Two tops do not come from a common one through layers that have maps."""


class CropError(NetError, AssertionError):
    """No Crop layer makes one top agree with the other. pycaffe raises AssertionErrors here."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The axis, the stride, the size of the dilated kernel and the padding of a sliding window.

    Raises: CropError where they are given for one axis each (kernel_h, kernel_w, ...).
    """
    block = "pooling_param" if fn.type_name == "Pooling" else "convolution_param"
    params = fn.params.get(block, fn.params)
    single = [name for name in _ONE_AXIS_EACH if name in params]
    if single or "kernel_size" not in params:
        raise CropError(
            f"coord_map: layer of type {fn.type_name}: expected kernel_size, got "
            f"{', '.join(single) or 'none'}: cropping does not support legacy _h/_w params. Give "
            "kernel_size, stride and pad, with a list of values where they differ."
        )

    def each(name: str, default: int | None = None) -> np.ndarray:
        return np.array(params.get(name, default), ndmin=1)

    kernel = (each("kernel_size") - 1) * each("dilation", 1) + 1
    return params.get("axis", 1), each("stride", 1), kernel, each("pad", 0)


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """The first axis that a Crop layer cuts, and the offsets."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map from a layer's first bottom to its top. Raises: UndefinedMapException."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        first, offset = crop_params(fn)
        return first - 1, 1, -offset
    raise UndefinedMapException(
        f"coord_map: layer of type {fn.type_name}: it has no map of coordinates. Take a top before "
        "it."
    )


def compose(base_map: Map, next_map: Map) -> Map:
    """First `next_map`, then `base_map`. Raises: AxisMismatchException."""
    base_axis, base_scale, base_shift = base_map
    next_axis, next_scale, next_shift = next_map
    if None not in (base_axis, next_axis) and base_axis != next_axis:
        raise AxisMismatchException(
            f"coord_map: expected maps of the same axis, got {base_axis} and {next_axis}. Give the "
            "layers the same axis."
        )
    axis = next_axis if base_axis is None else base_axis
    return axis, base_scale * next_scale, base_scale * next_shift + base_shift


def inverse(coord_map: Map) -> Map:
    """The map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from positions in `top_from` to those in `top_to`, through a top that both come from.

    Raises: UnconnectedError where there is none; AxisMismatchException.
    """
    from_maps = dict(_ancestors(top_from))
    for top, to_map in _ancestors(top_to):
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise UnconnectedError(
        "coord_map: Could not compute map between tops; are they connected by spatial layers?"
    )


def crop(top_from: Top, top_to: Top) -> Any:
    """The top of a Crop layer that cuts `top_from` to what `top_to` shows.

    Raises: CropError where their scales differ, or the cut is negative or inside a pixel; as
    coord_map_from_to.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    scale, shift = np.atleast_1d(scale), np.atleast_1d(shift)
    if (scale != 1).any():
        _refuse(f"scale mismatch on crop: expected scale 1, got {scale}", "Make the strides agree.")
    if (shift > 0).any():
        _refuse(f"cannot crop negative width: expected shifts up to 0, got {shift}", "Pad more.")
    if (np.round(shift) != shift).any():
        _refuse(f"cannot crop noninteger width: got {shift}", "Change a kernel size by one.")
    offset = (-np.round(shift)).astype(int).tolist()
    block = {"offset": offset} if axis is None else {"axis": axis + 1, "offset": offset}
    return layers.Crop(top_from, top_to, crop_param=block)


def _ancestors(top: Top) -> Iterator[tuple[Top, Map]]:
    """`top` and what it comes from, with the maps; as far as layers have them."""
    maps: dict[Top, Map] = {top: (None, 1, 0)}
    waiting = [top]
    while waiting:
        reached = waiting.pop(0)
        yield reached, maps[reached]
        fn = reached.fn
        try:
            step = coord_map(fn)
        except UndefinedMapException:
            continue
        # a Crop's second bottom is there for its shape only
        for bottom in fn.inputs[:1] if fn.type_name == "Crop" else fn.inputs:
            if bottom not in maps:  # all ways to a top have the same map
                maps[bottom] = compose(maps[reached], step)
                waiting.append(bottom)


def _refuse(problem: str, remedy: str) -> NoReturn:
    raise CropError(f"coord_map: {problem}. {remedy}")
