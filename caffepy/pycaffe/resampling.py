"""Images in another size by linear maps, one for the rows and one for the columns.

The values are those of `skimage.transform.resize(mode="constant")` and `scipy.ndimage.zoom`, which
pycaffe calls, to 1e-6 of the range of the image: the sums are in float64 here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Size = Sequence[int] | np.ndarray  # height, width

NEAREST, LINEAR = 0, 1
_TRUNCATE = 4  # the Gaussian ends after so many standard deviations


def resize_image(im: np.ndarray, new_dims: Size, interp_order: int = 1) -> np.ndarray:
    """The image (H, W, K) in another height and width, float32.

    interp_order: 1 interpolates, 0 takes the nearest pixel. With 1 or 3 channels pixels are squares
    and what shrinks is smoothed before; with any other number of channels they are points. The
    values are those of skimage and scipy, which pycaffe calls, to 1e-6 of the range of the image.
    Raises: ValueError for something other than an image, a size or an order.
    """
    if im.ndim != 3 or 0 in im.shape:
        raise ValueError(
            f"resize_image: im: expected an image (height, width, channels), got shape {im.shape}. "
            "Write im[:, :, np.newaxis] for one channel."
        )
    if len(new_dims) != 2 or min(new_dims) < 1:
        raise ValueError(
            f"resize_image: new_dims: expected a height and a width of at least 1, got "
            f"{tuple(new_dims)}. For a Transformer they are the last two axes of the net's input."
        )
    if interp_order not in (NEAREST, LINEAR):
        raise ValueError(
            f"resize_image: interp_order: expected 0 (nearest) or 1 (linear), got {interp_order}. "
            "Call scipy.ndimage.zoom or cv2.resize for others."
        )
    height, width = (int(size) for size in new_dims)
    if im.shape[-1] not in (1, 3):
        return _zoom_samples(im, height, width, interp_order).astype(np.float32)
    low, high = im.min(), im.max()
    if not high > low:
        return np.full((height, width, im.shape[-1]), low, np.float32)
    unit = (im - low) / (high - low)
    resized = _resize_pixels(unit, height, width, interp_order)
    return np.asarray(resized * (high - low) + low, np.float32)


def _resize_pixels(image: np.ndarray, height: int, width: int, order: int) -> np.ndarray:
    """(height, width, K) in the image's float type: pixels are squares, the image is 0 around
    itself. What shrinks is smoothed by a Gaussian before.

    image: (H, W, K) float.
    """
    maps = []
    for size, new in zip(image.shape, (height, width)):
        step = size / new
        places = (np.arange(new) + 0.5) * step - 0.5
        maps.append(_map(places, size, order, sigma=(step - 1) / 2))
    return _apply(maps, image).astype(image.dtype).clip(image.min(), image.max())


def _zoom_samples(image: np.ndarray, height: int, width: int, order: int) -> np.ndarray:
    """(height, width, K) in the image's type: pixels are points, first and last stay where they
    are. Where whole numbers are asked for, a half may be rounded otherwise than by scipy.

    image: (H, W, K).
    """
    maps = []
    for size, new in zip(image.shape, (height, width)):
        step = (size - 1) / (new - 1) if new > 1 else 1.0
        maps.append(_map(np.arange(new) * step, size, order))
    values = _apply(maps, image)
    if np.issubdtype(image.dtype, np.integer):
        values = np.floor(values + 0.5)
    return values.astype(image.dtype)


def _map(places: np.ndarray, size: int, order: int, sigma: float = 0) -> np.ndarray:
    """(len(places), size): the weights of samples 0 ... size - 1 for values at places between them,
    after smoothing by a Gaussian of standard deviation `sigma`, if any."""
    below = np.floor(places if order == LINEAR else places + 0.5).astype(int)
    if order == LINEAR:
        shares = [(below, below + 1 - places), (below + 1, places - below)]
    else:
        shares = [(below.clip(0, size - 1), np.ones(len(places)))]
    weights = np.zeros((len(places), size))
    for samples, share in shares:
        inside = (samples >= 0) & (samples < size)
        weights[inside] += share[inside, None] * _smoothed(samples[inside], size, sigma)
    return weights


def _smoothed(samples: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """(len(samples), size): the weights of all samples in these, smoothed; 0 lies around them."""
    distance = np.arange(size) - samples[:, None]
    if sigma <= 0:
        return np.asarray(distance == 0, float)
    radius = int(_TRUNCATE * sigma + 0.5)
    total = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum()
    kernel = np.exp(-0.5 * (distance / sigma) ** 2) / total
    return np.where(abs(distance) <= radius, kernel, 0.0)


def _apply(maps: list[np.ndarray], image: np.ndarray) -> np.ndarray:
    """The first map on the rows, the second on the columns: (H', W', K) float64."""
    rows, columns = maps
    return np.asarray(columns @ np.tensordot(rows, image.astype(np.float64), axes=1))
