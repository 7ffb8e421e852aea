"""Nets whose weights tests save and load, and where Caffe's files of weights lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffepy.engine.net import Net

MODELS = Path(__file__).resolve().parents[1] / "golden" / "formats" / "models"

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } } '


def ip(name: str, bottom: str = "x", param: str = "", outputs: int = 4) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {param} '
        f"inner_product_param {{ num_output: {outputs} weight_filler {{ type: 'xavier' }} }} }} "
    )


PLAIN = 'name: "plain" ' + INPUT + ip("a") + ip("b", "a", outputs=3)
SHARED = INPUT + ip("a", param='param { name: "w" }') + ip("b", "a", 'param { name: "w" }')


def parameters(net: Net) -> dict[tuple[str, int], np.ndarray]:
    return {
        (layer.name, index): blob.data.read().copy()
        for layer in net.layers
        for index, blob in enumerate(layer.blobs)
    }
