"""caffe.io: arrays to messages and back, images, and what is done to them before a net sees them.

Images in Python are (H, W, K) with K channels in the order RGB; pixels of files are 0 to 1.
Source: python/caffe/io.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from caffepy.engine.core.storage import Shape
from caffepy.engine.data import datum as data_datum
from caffepy.engine.data import images as data_images
from caffepy.proto.caffe_pb2 import BlobProto, BlobProtoVector, Datum
from caffepy.pycaffe.proto import caffe_pb2
from caffepy.pycaffe.resampling import Size, resize_image
from caffepy.pycaffe.transformer import Transformer

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",  # scripts reach it here too
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

_GRAY = (0.2125, 0.7154, 0.0721)  # shares of red, green, blue in skimage's luminance
_CROPS = 10  # four corners and the centre, each also mirrored


# ---- messages


def blobproto_to_array(blob: BlobProto, return_diff: bool = False) -> np.ndarray:
    """The data of a blob message, or its diff: float64 in the blob's shape.

    Raises: ValueError where there are more or fewer values than the shape says.
    """
    values = np.array(
        (blob.diff or blob.double_diff) if return_diff else (blob.data or blob.double_data), float
    )
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        shape: Shape = (blob.num, blob.channels, blob.height, blob.width)
    else:
        shape = tuple(blob.shape.dim)
    if values.size != np.prod(shape, dtype=int):
        raise ValueError(
            f"blobproto_to_array: {'diff' if return_diff else 'data'}: expected as many values as "
            f"the blob's shape {shape} has, got {values.size}. Set shape.dim, or read a message "
            "that is whole."
        )
    return values.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> BlobProto:
    """A blob message of an array of any shape; diff: the same for its diff."""
    blob = BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """The bytes of a BlobProtoVector message that holds the arrays."""
    vector = BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist])
    return vector.SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[np.ndarray]:
    """The arrays in the bytes of a BlobProtoVector message."""
    return [blobproto_to_array(blob) for blob in BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> Datum:
    """A Datum of an array (channels, height, width): bytes where it is uint8, else floats.

    Raises: ValueError for another number of axes.
    """
    if arr.ndim != 3:
        raise ValueError(
            f"array_to_datum: Incorrect array shape: expected (channels, height, width), got "
            f"{arr.shape}. Write arr[np.newaxis] for one channel."
        )
    channels, height, width = arr.shape
    datum = Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Datum) -> np.ndarray:
    """(channels, height, width): uint8 of a Datum of bytes, float64 of one of floats.

    Differs: the image in an encoded Datum is decoded, its channels in the order BGR, as the layers
    do it; pycaffe fails there.
    Raises: DataError where there are more or fewer values than the shape says.
    """
    array = data_datum.array(datum, "datum_to_array")
    return array.copy() if array.dtype == np.uint8 else array.astype(float)


# ---- images


def load_image(filename: str | os.PathLike[str], color: bool = True) -> np.ndarray:
    """The image of a file: (H, W, 3) RGB, or (H, W, 1) gray where color is False; float32, 0 to 1.

    Gray files are repeated for the three channels; an alpha channel is dropped for colour, and laid
    over white for gray, as skimage does. The pixels of JPEG files may differ from those of another
    decoder by a step or two of 1/255.
    Raises: DataError where the file is missing or no image.
    """
    where = f"load_image: '{os.fspath(filename)}'"
    stored = data_images.decode(
        data_images.read(Path(filename), where), where, color=None, any_depth=True
    )
    image = stored.astype(np.float64)
    if np.issubdtype(stored.dtype, np.integer):
        image *= 1 / np.iinfo(stored.dtype).max
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
        return np.tile(image, (1, 1, 3 if color else 1)).astype(np.float32)
    rgb = image[:, :, 2::-1]
    if color:
        return np.ascontiguousarray(rgb, np.float32)
    if image.shape[2] == 4:
        alpha = image[:, :, 3:]
        rgb = np.clip(alpha * rgb + (1 - alpha), 0, 1)
    return np.asarray(rgb @ np.array(_GRAY), np.float32)[:, :, np.newaxis]


def oversample(images: Sequence[np.ndarray], crop_dims: Size) -> np.ndarray:
    """Ten crops of each image: its four corners, its centre, and these five mirrored.

    images: N images (H, W, K) of one shape.  crop_dims: height and width of the crops.
    Returns: (10 N, height, width, K) float32.
    Raises: ValueError where there is no image, or the crop is larger than the images.
    """
    height, width = (int(size) for size in crop_dims)
    if not len(images) or images[0].shape[0] < height or images[0].shape[1] < width:
        got = images[0].shape if len(images) else "none"
        raise ValueError(
            f"oversample: images: expected images of at least {height} x {width}, the size of the "
            f"crops, got {got}. Resize them with resize_image before."
        )
    down, right = images[0].shape[0] - height, images[0].shape[1] - width
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.empty((_CROPS * len(images), height, width, images[0].shape[-1]), np.float32)
    for index, image in enumerate(images):
        ten = crops[_CROPS * index : _CROPS * (index + 1)]
        for crop, (top, left) in zip(ten, corners):
            crop[...] = image[top : top + height, left : left + width]
        ten[5:] = ten[:5, :, ::-1]
    return crops
