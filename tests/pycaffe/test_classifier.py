"""caffe.Classifier: classes of images, against what pycaffe gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from caffepy.engine.core.errors import ShapeError

# README of the recorded results: whole nets against Caffe's float32
RTOL, ATOL = 1e-4, 1e-5


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "pyapi" / "pyapi.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def classifier(golden: Path, recorded: dict[str, np.ndarray]) -> caffe.Classifier:
    folder = golden / "pyapi"
    settings: dict[str, Any] = json.loads((folder / "pyapi.json").read_text())["classifier"]
    return caffe.Classifier(
        str(folder / "deploy.prototxt"),
        str(folder / "deploy.caffemodel"),
        mean=recorded["classifier_mean"],
        **settings,
    )


@pytest.mark.parametrize(("oversample", "name"), [(True, "oversample"), (False, "center")])
def test_predictions_are_pycaffes(
    classifier: caffe.Classifier, recorded: dict[str, np.ndarray], oversample: bool, name: str
) -> None:
    found = classifier.predict(recorded["classifier_images"], oversample=oversample)
    np.testing.assert_allclose(found, recorded[f"classifier_{name}"], rtol=RTOL, atol=ATOL)


def test_images_of_several_sizes_are_taken(
    classifier: caffe.Classifier, recorded: dict[str, np.ndarray]
) -> None:
    first = recorded["classifier_images"][0]
    larger = np.repeat(np.repeat(first, 2, 0), 3, 1)
    found = classifier.predict(iter([first, larger]))
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found[0], recorded["classifier_oversample"][0], rtol=RTOL, atol=ATOL)


def test_it_is_a_net_in_phase_test(golden: Path) -> None:
    folder = golden / "pyapi"
    with caffe.Classifier(folder / "deploy.prototxt", folder / "deploy.caffemodel") as classifier:
        assert isinstance(classifier, caffe.Net)
        assert tuple(classifier.image_dims) == tuple(classifier.crop_dims) == (6, 6)
        assert isinstance(classifier.transformer, caffe.io.Transformer)
        assert classifier.predict([np.ones((6, 6, 3))], oversample=False).shape == (1, 5)


def test_image_dims_smaller_than_the_input_are_refused(golden: Path) -> None:
    folder = golden / "pyapi"
    with pytest.raises(ValueError, match=r"image_dims: expected .* \(6, 6\), got \(5, 9\)"):
        caffe.Classifier(
            folder / "deploy.prototxt", folder / "deploy.caffemodel", image_dims=(5, 9)
        )


def test_an_input_that_takes_no_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }'
        'layer { name: "y" type: "Softmax" bottom: "x" top: "y" }'
    )
    weights = tmp_path / "net.caffemodel"
    layers = [caffe_pb2.LayerParameter(name="x"), caffe_pb2.LayerParameter(name="y")]
    weights.write_bytes(caffe_pb2.NetParameter(layer=layers).SerializeToString())
    with pytest.raises(ShapeError, match=r"input 'x': expected shape \(N, K, H, W\)"):
        caffe.Classifier(path, weights)


def test_no_images_and_images_without_color_are_refused(classifier: caffe.Classifier) -> None:
    with pytest.raises(ValueError, match="expected at least one image"):
        classifier.predict([])
    with pytest.raises(ValueError, match="channels"):
        classifier.predict([np.random.default_rng(0).random((8, 9, 1))])


@pytest.mark.parametrize("given", [np.ones((8, 9, 3)), ["cat.jpg"]], ids=["image", "name"])
def test_what_is_no_list_of_images_is_refused(classifier: caffe.Classifier, given: Any) -> None:
    with pytest.raises(ValueError, match=r"Write predict\(\[image\]\).*load_image"):
        classifier.predict(given)
