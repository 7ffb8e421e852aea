"""Image files as records of a database hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_SAME_TYPE = {"jpeg": "jpg", "jpe": "jpg", "tiff": "tif"}


@dataclass(frozen=True)
class ImageOptions:
    """How images become records.

    gray: one channel instead of three.  width, height: the size to resize to, 0 to leave them.
    encoded: store image files instead of pixels.  encode_type: of these files (png, jpg, ...);
    empty: what the image's own name ends in.  min_dim, max_dim: least length of the shorter and
    most of the longer side, the proportions being kept; 0 to leave them.
    """

    gray: bool = False
    width: int = 0
    height: int = 0
    encoded: bool = False
    encode_type: str = ""
    min_dim: int = 0
    max_dim: int = 0

    def check(self) -> None:
        """Raises: DataError for options that cannot be met."""
        from caffepy.engine.core.errors import DataError
        from caffepy.engine.data import images

        if self.encode_type and not images.can_encode(self.encode_type):
            raise DataError(
                f"--encode_type '{self.encode_type}': OpenCV cannot write such files. Use png or "
                "jpg."
            )
        if min(self.width, self.height) < 0 or bool(self.width) != bool(self.height):
            raise DataError(
                f"--resize_width {self.width}, --resize_height {self.height}: expected two sizes "
                "or neither. Give both."
            )
        if min(self.min_dim, self.max_dim) < 0 or 0 < self.max_dim < self.min_dim:
            raise DataError(
                f"--min_dim {self.min_dim}, --max_dim {self.max_dim}: expected 0 or more, the "
                "first not the larger. Correct them."
            )


class StoredImage(NamedTuple):
    """image: pixels, (H, W, C) or (H, W), or the bytes of an image file.  size: height, width,
    channels.  own_size: the height and width of the image before it was resized."""

    image: np.ndarray | bytes
    size: tuple[int, int, int]
    own_size: tuple[int, int]


def stored_image(path: Path, options: ImageOptions) -> StoredImage:
    """What is to be stored of an image file.

    A file that is to be stored compressed is stored as it is where it has the wanted type, size and
    number of channels already.
    Raises: DataError where it cannot be read or encoded.
    """
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import images

    data = images.read(path, str(path))
    own_type = _type(path.suffix.lstrip(".").lower())
    encoding = options.encoded or bool(options.encode_type)
    wanted_type = (options.encode_type or own_type).lower()
    resizing = options.width or options.min_dim or options.max_dim
    if encoding and not resizing and own_type == _type(wanted_type):
        size = _size(images.decode(data, str(path)))
        if size[2] == (1 if options.gray else 3):
            return StoredImage(data, size, size[:2])
    image = images.decode(data, str(path), color=not options.gray)
    own_size = _size(image)[:2]
    image = _resized(image, options, path)
    size = _size(image)
    if not encoding:
        return StoredImage(image, size, own_size)
    if not wanted_type:
        raise DataError(f"{path}: its name does not tell its type: give --encode_type.")
    return StoredImage(images.encode(image, wanted_type), size, own_size)


def _resized(image: np.ndarray, options: ImageOptions, path: Path) -> np.ndarray:
    """Source of min_dim and max_dim: the SSD fork's io.cpp."""
    import numpy as np

    from caffepy.engine.data import images

    if not options.min_dim and not options.max_dim:
        if not options.width:
            return image
        return images.resize(image, options.height, options.width, str(path))
    single, (shorter, longer) = np.float32, sorted(image.shape[:2])
    factor = single(1)
    if shorter < options.min_dim:
        factor = single(options.min_dim) / single(shorter)
    if options.max_dim and int(factor * single(longer)) > options.max_dim:
        factor = single(options.max_dim) / single(longer)
    return image if factor == 1 else images.rescale(image, float(factor), str(path))


def _size(image: np.ndarray) -> tuple[int, int, int]:
    """Height, width, channels of (H, W, C) or (H, W)."""
    height, width, channels = (*image.shape, 1)[:3]
    return height, width, channels


def _type(extension: str) -> str:
    """One name for the extensions of one type."""
    return _SAME_TYPE.get(extension, extension)
