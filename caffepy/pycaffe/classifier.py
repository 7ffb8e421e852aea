"""caffe.Classifier: a net that says what is on images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from caffepy.engine.pynet import Net
from caffepy.proto.caffe_pb2 import TEST
from caffepy.pycaffe import io
from caffepy.pycaffe.transformer import image_transformer


class Classifier(Net):
    """A net of a deploy.prototxt whose first input takes images and whose first output gives one
    number for each class.

        classifier = caffe.Classifier("deploy.prototxt", "net.caffemodel", mean=mean,
                                      raw_scale=255, channel_swap=(2, 1, 0))
        probabilities = classifier.predict([caffe.io.load_image("cat.jpg")])[0]

    transformer: makes images into inputs.  crop_dims: height and width of the net's input.
    image_dims: height and width that images are resized to before crops are taken from them.
    Source: python/caffe/classifier.py.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        """image_dims: the size of the net's input by default.

        mean, input_scale, raw_scale, channel_swap: see caffe.io.Transformer.
        Raises: as Net; ValueError and ShapeError where the net's input does not fit these.
        """
        super().__init__(model_file, TEST, weights=pretrained_file)
        in_ = self.inputs[0]
        shape = self.blobs[in_].shape
        self.transformer = image_transformer(in_, shape, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(shape[2:])
        self.image_dims = np.array(shape[2:] if image_dims is None else image_dims)
        if self.image_dims.shape != (2,) or (self.image_dims < self.crop_dims).any():
            raise ValueError(
                f"Classifier: image_dims: expected a height and a width of at least those of the "
                f"net's input, {shape[2:]}, got {image_dims}. Leave it out, or take larger ones."
            )

    def predict(self, inputs: Iterable[np.ndarray], oversample: bool = True) -> np.ndarray:
        """The first output, for each image: (N, classes).

        inputs: N images (H, W, K), of any sizes.
        oversample: the mean over ten crops of each: centre and corners, and these mirrored. False
            takes the centre alone.
        Raises: ValueError where there is no image, or something else; ValueError or ShapeError
        where one has another number of channels.
        """
        images = list(inputs)
        if not images:
            raise ValueError("Classifier: inputs: expected at least one image, got none.")
        for image in images:
            if not isinstance(image, np.ndarray) or image.ndim != 3:
                got = image.shape if isinstance(image, np.ndarray) else repr(image)
                raise ValueError(
                    "Classifier: inputs: expected a list of images (height, width, channels), got "
                    f"one that is {got}. Write predict([image]) for one image; "
                    "caffe.io.load_image gives that of a file."
                )
        resized = [io.resize_image(image, self.image_dims) for image in images]
        if oversample:
            crops = io.oversample(resized, self.crop_dims)
        else:
            (top, left), (height, width) = (self.image_dims - self.crop_dims) // 2, self.crop_dims
            crops = np.stack([im[top : top + height, left : left + width] for im in resized])
        in_ = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(in_, crop) for crop in crops])
        predictions = self.forward_all(**{in_: batch})[self.outputs[0]]
        if oversample:
            predictions = predictions.reshape(len(images), len(crops) // len(images), -1).mean(1)
        return predictions
