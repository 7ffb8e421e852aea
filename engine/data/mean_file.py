"""Mean images as they lie in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffepy.engine.core.errors import DataError, WeightsError
from caffepy.proto.weights import decode_blob


def load_mean(path: Path) -> np.ndarray:
    """(C, H, W) float: the mean image in a binaryproto, or in a .npy file.

    Raises: WeightsError for a binaryproto that cannot be read, DataError otherwise.
    """
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                mean: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        else:
            mean = decode_blob(path.read_bytes(), str(path)).data
    except WeightsError:
        raise
    except Exception as error:  # of a damaged file numpy raises nearly anything
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{path}: the mean cannot be read: {reason}. Make it with compute_image_mean."
        ) from None
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3 or mean.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected a mean image of shape (channels, height, width), got {mean.dtype} "
            f"of shape {mean.shape}. Make it with compute_image_mean."
        )
    return mean
