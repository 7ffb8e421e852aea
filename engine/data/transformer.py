"""Caffe's transformations of images on their way into a net: crop, mean, mirror, scale."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, NetError, WeightsError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import augmentation
from caffepy.engine.data import images as imaging
from caffepy.engine.data.augmentation import Augmentation
from caffepy.engine.data.mean_file import load_mean
from caffepy.proto.caffe_pb2 import TransformationParameter

CHUNK = 1 << 16  # elements that are worked on at a time, so that they stay in the cache
_KNOWN = {
    "scale", "mirror", "crop_size", "crop_h", "crop_w", "mean_file", "mean_value", "force_color",
    "force_gray", *augmentation.FIELDS,
}  # fmt: skip
_OF_BOXES = ("expand_param", "emit_constraint")

Shape = tuple[int, ...]
Picture = tuple[str, np.ndarray]  # what messages call it, and the image (C, H, W)
# Gives the memory (n, C, H, W) for transformed images, once the shape (C, H, W) of one is known.
Rows = Callable[[Shape], np.ndarray]
Choice = tuple[int, int, bool]  # top and left of what is taken, and whether it is mirrored


class Cut(NamedTuple):
    """What is taken of an image. image: (C, h, w), not mirrored; the others: see Choice."""

    image: np.ndarray
    top: int
    left: int
    mirrored: bool


class View(NamedTuple):
    """What is taken of an image after it is scaled. scaled: its height and width then.  size: the
    height and width of what is taken; the others: see Choice."""

    scaled: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]
    mirrored: bool


class Transformer:
    """(image - mean) * scale, cropped and mirrored, for batches of images (C, H, W).

    transform_param: scale (1); crop_size (0), crop_h (0), crop_w (0): sizes to crop to, at random
    in phase TRAIN, in the middle in phase TEST; mirror (false): half of the images, at random;
    mean_file (none): binaryproto or .npy of the images' shape; mean_value (none): in its place one
    number, or one per channel; force_color (false), force_gray (false): decode encoded images to 3
    channels, or 1; resize_param (none): another size, see below; img_rand_resize_lower (0),
    img_rand_resize_upper (0): another size at random, so that the shorter side has that many
    pixels, in phase TEST the middle between them; interpolation_algo_down (INTER_NEAREST),
    interpolation_algo_up (INTER_CUBIC): how that is done; max_rotation_angle (0): turn by so many
    degrees at most, at random, about the middle, in the same size; distort_param (none): other
    colours, see below; erase_ratio (0): probability that a part of the cropped image is replaced by
    random bytes; scale_min (0.02), scale_max (0.4): width of that part, as a share of the image's;
    aspect_min (0.33), aspect_max (3): its height as a share of its width; noise_param (none): see
    below; the others: of forks, refused

    Random choices are a function of the sample's number, whatever batch it comes in. The mean
    belongs to the image before it is cropped and mirrored.

    resize_param { height: 300 width: 300 } scales to that size. resize_mode: FIT_SMALL_SIZE keeps
    the proportions, so that both sides are at least as long, FIT_LARGE_SIZE_AND_PAD so that they
    fit in, with a border by pad_mode: CONSTANT (pad_value), MIRRORED or REPEAT_NEAREST.
    interp_mode: LINEAR, AREA, NEAREST, CUBIC or LANCZOS4; of several one at random in phase TRAIN,
    the first in phase TEST.

    distort_param, with a probability for each part: brightness_prob, brightness_delta (summand at
    most), contrast_prob, contrast_lower, contrast_upper (factors), saturation_prob,
    saturation_lower, saturation_upper (factors), hue_prob, hue_delta (summand at most, in units of
    two degrees), random_order_prob (of the channels).

    noise_param, in both phases, in this order: decolorize: gray, in 3 channels; gauss_blur; hist_eq
    and clahe: contrast spread, of the image and of its parts; jpeg: packed and unpacked with this
    quality, 1 to 100; erode; posterize: 4 levels; inverse; saltpepper: with saltpepper_param a
    `fraction` of the pixels, at random, gets the `value`, one or one per channel; convert_to_hsv.
    prob does nothing, as in the SSD fork, nor does that of resize_param: a warning says so.

    What Caffe does not have comes in this order: colours, rotation, size, noise, then Caffe's crop,
    erased part, mirror, mean and scale. It needs images of bytes, and goes unseen in phase TEST,
    but for size and noise.

    find_file: from (name, where it is named) to a path.  where: the beginning of errors.
    mean: what is subtracted, of the images' shape, or (C, 1, 1), or (1, 1, 1); None: nothing.
    Raises: NetError for parameters that contradict each other or that only forks of Caffe know,
    DataError where the mean cannot be read or does not fit the images.
    Source: Caffe's layer catalogue, Transformations; the fields that it does not have are those of
    the SSD, NVIDIA, caffe-augmentation and caffe-windows forks.
    """

    def __init__(
        self,
        param: TransformationParameter,
        *,
        testing: bool,
        stream: Stream,
        dtype: np.dtype,
        where: str,
        find_file: Callable[[str, str], Path],
    ) -> None:
        self.param = param
        self.testing = testing
        self.stream = stream
        self.dtype = dtype
        self.where = where
        self._check()
        self.augmentation: Augmentation | None = None
        if Augmentation.wanted(param, testing):
            self.augmentation = Augmentation(param, testing=testing, stream=stream, where=where)
        self.crop = (param.crop_h, param.crop_w) if param.crop_h else (param.crop_size,) * 2
        self._unused: list[np.ndarray] = []  # batches whose memory the next ones may take
        self.mean: np.ndarray | None = None
        if param.HasField("mean_file"):
            path = find_file(param.mean_file, "transform_param.mean_file")
            log.info(f"Loading mean file from: {path}")
            try:
                self.mean = load_mean(path).astype(dtype)
            except (DataError, WeightsError) as error:
                raise type(error)(f"{where}: transform_param.mean_file: {error}") from None
        elif param.mean_value:
            self.mean = np.array(param.mean_value, dtype).reshape(-1, 1, 1)

    @property
    def color(self) -> bool | None:
        """What encoded images are decoded to: True 3 channels, False 1, None as they are."""
        return True if self.param.force_color else False if self.param.force_gray else None

    def shape(self, image: Shape, what: str) -> Shape:
        """The transformed shape of an image of shape `image` that is sample number 0. what: the
        image, in errors. Raises: DataError."""
        if self.augmentation is not None:
            image = self.augmentation.shape(image, 0)
        return self._cropped(image, what)

    def _cropped(self, image: Shape, what: str) -> Shape:
        """The shape of an image after it was cropped."""
        channels, height, width = image
        mean = self.mean
        if mean is not None and self.param.mean_value and len(mean) not in (1, channels):
            raise DataError(
                f"{self.where}: transform_param.mean_value: expected one, or one for each of "
                f"the {channels} channel(s) of {what}, got {len(mean)}. Correct their number."
            )
        if mean is not None and not self.param.mean_value and mean.shape != image:
            raise DataError(
                f"{self.where}: mean_file '{self.param.mean_file}': expected shape {image}, that "
                f"of {what}, got {mean.shape}. Compute the mean of this database with "
                "compute_image_mean, or give mean_value."
            )
        if not any(self.crop):
            return image
        if height < self.crop[0] or width < self.crop[1]:
            raise DataError(
                f"{self.where}: {what}: expected at least {self.crop[0]} x {self.crop[1]} pixels "
                f"to crop, got {height} x {width}. Choose a smaller crop_size, or make the images "
                "bigger."
            )
        return (channels, *self.crop)

    def batch(self, pictures: Iterable[Picture], first: int, count: int) -> np.ndarray:
        """(count, C, H, W): images (C, H, W) of number `first` and up, transformed.

        Each image is let go before the next one is asked for: memory for all of them together would
        be fetched from the system, and take longer than what is done here.

        Raises: DataError where the transformed images differ in shape.
        """
        return self.floats(self.cuts(pictures, first, count), count)

    def cuts(self, pictures: Iterable[Picture], first: int, count: int) -> Iterator[Cut]:
        """What is taken of `count` images of number `first` and up. Raises: DataError."""
        draws, of = self._draws(first, count), ""
        common: Shape = ()
        augmentation = self.augmentation
        for number, ((name, given), draw) in enumerate(zip(pictures, draws, strict=True), first):
            image = given if augmentation is None else augmentation.changed(given, number, name)
            shape = self._cropped(image.shape, name)
            if not of:
                common, of = shape, name
            elif shape != common:
                raise DataError(
                    f"{self.where}: {name}: expected shape {common}, that of {of} in the same "
                    f"batch, got {shape}. Make all images one size, set crop_size, or use "
                    "batch_size 1."
                )
            top, left, mirrored = self._choice(draw, image.shape, shape)
            _, height, width = shape
            taken = image[:, top : top + height, left : left + width]
            if augmentation is not None:
                taken = augmentation.erased(taken, number)
            yield Cut(taken, top, left, mirrored)

    def choices(self, image: Shape, first: int, count: int) -> np.ndarray | Choice:
        """The choices for `count` images of one shape, of number `first` and up: (count, 3), or one
        for all."""
        shape = self.shape(image, "the data set")
        if not self._is_random:
            return self._choice(None, image, shape)
        return np.array([self._choice(draw, image, shape) for draw in self._draws(first, count)])

    def view(self, image: Shape, number: int, what: str) -> View:
        """What `cuts` takes of image (C, H, W), sample `number`. what: it, in errors."""
        scaled = image
        if self.augmentation is not None:
            scaled = self.augmentation.shape(image, number)
        shape = self._cropped(scaled, what)
        top, left, mirrored = self._choice(self._draws(number, 1)[0], scaled, shape)
        return View((scaled[1], scaled[2]), top, left, (shape[1], shape[2]), mirrored)

    def floats(self, cuts: Iterable[Cut], count: int) -> np.ndarray:
        """(count, C, H, W): what was taken of images, transformed."""
        made = [np.empty(0)]

        def rows(shape: Shape) -> np.ndarray:
            made[0] = self.memory((count, *shape))
            return made[0]

        self.fill(cuts, rows)
        return made[0]

    def fill(self, cuts: Iterable[Cut], rows: Rows) -> None:
        """Writes what was taken of images, transformed, to `rows`."""
        out = np.empty(0)
        for index, cut in enumerate(cuts):
            if not index:
                out = rows(cut.image.shape)
            image = cut.image[:, :, ::-1] if cut.mirrored else cut.image
            self.finish(image[None], [cut[1:]], out[index : index + 1])

    def finish(self, images: np.ndarray, choices: Sequence[Choice], out: np.ndarray) -> None:
        """Writes (images - mean) * scale to out. Both (n, C, H, W), cropped and mirrored already.

        Plane by plane, or small images together, while they are in the cache: in fewer steps
        through memory than there are of computing.
        """
        if self.mean is not None and self.mean.shape[1:] != (1, 1):
            for image, choice, target in zip(images, choices, out, strict=True):
                mean = self._window(choice, image.shape)
                for channel, plane in enumerate(image):
                    target[channel] = plane
                    imaging.subtract(target[channel], mean[channel])
                    self._scale(target[channel])
            return
        step = max(1, CHUNK // images[0].size)
        for start in range(0, len(images), step):
            part = out[start : start + step]
            part[...] = images[start : start + step]
            if self.mean is not None:
                part -= self.mean
            self._scale(part)

    def reuse(self, batch: np.ndarray) -> None:
        """A later batch may take the memory of this one, which nobody looks at any more. Any thread
        may say so."""
        self._unused.append(batch)

    def memory(self, shape: Shape) -> np.ndarray:
        """For a batch; content undefined. Any thread may ask."""
        with contextlib.suppress(IndexError):  # there is none, or another thread took it
            while True:
                batch = self._unused.pop()
                if batch.shape == shape:
                    return batch
        return np.empty(shape, self.dtype)

    def _window(self, choice: Choice, image: Shape) -> np.ndarray:
        """The part of the mean image that was taken of an image, mirrored as that is."""
        mean, (top, left, mirrored), (_, height, width) = self.mean, choice, image
        assert mean is not None, "asked for"
        if mirrored:
            mean, left = self._mirrored_mean, mean.shape[2] - left - width
        return mean[:, top : top + height, left : left + width]

    @functools.cached_property
    def _mirrored_mean(self) -> np.ndarray:
        """In memory of its own: it is read faster so than backwards."""
        assert self.mean is not None, "asked for"
        mirrored: np.ndarray = self.mean[:, :, ::-1].copy()
        return mirrored

    def _scale(self, out: np.ndarray) -> None:
        if self.param.scale != 1:
            out *= self.dtype.type(self.param.scale)

    @property
    def changes_each(self) -> bool:
        """Whether images are changed one by one: other ones in other ways."""
        return self._is_random or self.augmentation is not None

    @property
    def _is_random(self) -> bool:
        return self.param.mirror or self._crops_at_random

    @property
    def _crops_at_random(self) -> bool:
        return any(self.crop) and not self.testing

    def _draws(self, first: int, count: int) -> Sequence[list[float] | None]:
        """The random numbers of samples, in [0, 1); None where there is no choice."""
        if not self._is_random:
            return [None] * count
        draws: list[list[float] | None] = self.stream.uniform_blocks(first, count).tolist()
        return draws

    def _choice(self, draw: list[float] | None, image: Shape, shape: Shape) -> Choice:
        """What is taken of an image."""
        free_h, free_w = image[1] - shape[1], image[2] - shape[2]
        mirrored = draw is not None and self.param.mirror and draw[0] >= 0.5
        if draw is None or not self._crops_at_random:
            return free_h // 2, free_w // 2, mirrored
        return int(draw[1] * (free_h + 1)), int(draw[2] * (free_w + 1)), mirrored

    def _check(self) -> None:
        """Refuses what contradicts itself, and what only forks do."""
        param = self.param
        unknown = [field.name for field, _ in param.ListFields() if field.name not in _KNOWN]
        if unknown and unknown[0] in _OF_BOXES:
            raise NetError(
                f"{self.where}: transform_param.{unknown[0]}: expected it in an AnnotatedData "
                "layer, the only one whose images have boxes, got it here, where the SSD fork "
                "passes it over. Remove it."
            )
        if unknown:
            raise NetError(
                f"{self.where}: transform_param.{unknown[0]}: this layer does not know it. Remove "
                f"it, or use one of {', '.join(sorted(_KNOWN))}."
            )
        if param.HasField("mean_file") and param.mean_value:
            raise NetError(
                f"{self.where}: transform_param: expected mean_file or mean_value, got both. "
                "Remove one."
            )
        if param.force_color and param.force_gray:
            raise NetError(
                f"{self.where}: transform_param: expected force_color or force_gray, got both. "
                "Remove one."
            )
        if bool(param.crop_h) != bool(param.crop_w) or (param.crop_h and param.crop_size):
            raise NetError(
                f"{self.where}: transform_param: expected crop_size, or crop_h with crop_w, got "
                f"crop_size {param.crop_size}, crop_h {param.crop_h}, crop_w {param.crop_w}. Give "
                "one or the other."
            )
