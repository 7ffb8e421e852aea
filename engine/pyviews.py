"""What a pycaffe Net shows besides its blobs and parameters: a summary, itself in a notebook, and
blobs and layers by number."""

from __future__ import annotations

from collections import OrderedDict

from caffepy.engine import net as engine
from caffepy.engine import table
from caffepy.engine.core.blob import Blob as CoreBlob
from caffepy.engine.pyblob import Blob
from caffepy.engine.pycopy import Uncopied
from caffepy.engine.summary import Summary, summary
from caffepy.engine.usercode import raising_as_user
from caffepy.proto.caffe_pb2 import Phase


class NetViews(Uncopied):
    """The part of a Net that only reads it; see pynet.Net for the attributes."""

    _net: engine.Net
    _blob_names: list[str]
    blobs: OrderedDict[str, Blob]
    inputs: list[str]
    outputs: list[str]
    blob_loss_weights: OrderedDict[str, float]

    def summary(self) -> Summary:
        """Layers, shapes, parameters, multiply-adds and memory: a table to print, which a notebook
        shows, with the numbers as attributes (engine/summary.py says what counts).

        The layers take the shapes that follow from those of the inputs first, as in `reshape`.
        Raises: ShapeError where a layer cannot.
        """
        raising_as_user(self._net.reshape)
        return summary(self._net)

    def _repr_html_(self) -> str:
        """For a notebook: what goes in and out, and how much there is of it."""
        told = summary(self._net)
        return table.html(
            (
                ("inputs", self._with_shapes(self.inputs)),
                ("outputs", self._with_shapes(self.outputs)),
                ("layers", f"{len(told.layers)} in the prototxt; net.summary() lists them"),
                ("parameters", f"{told.parameters:,}"),
            ),
            title=f"Net '{told.name}' ({told.phase})",
        )

    def __repr__(self) -> str:
        return (
            f"Net({self._net.name!r}, {Phase.Name(self._net.phase)}, {len(self._net.layers)} "
            f"layers, inputs {self.inputs}, outputs {self.outputs})"
        )

    def _with_shapes(self, names: list[str]) -> str:
        """`data (64, 1, 28, 28), label (64,)`"""
        return ", ".join(f"{name} {self.blobs[name].shape}" for name in names) or "none"

    # ---- by number, under the names of pycaffe's compiled part

    @property
    def _blobs(self) -> list[Blob]:
        """The blobs in the order of `_blob_names`."""
        return list(self.blobs.values())

    @property
    def _inputs(self) -> list[int]:
        """The places of the inputs in `_blob_names`."""
        return [self._blob_names.index(name) for name in self.inputs]

    @property
    def _outputs(self) -> list[int]:
        """The places of the outputs in `_blob_names`."""
        return [self._blob_names.index(name) for name in self.outputs]

    @property
    def _blob_loss_weights(self) -> list[float]:
        """The loss weights in the order of `_blob_names`."""
        return list(self.blob_loss_weights.values())

    def _top_ids(self, layer: int) -> list[int]:
        """The places in `_blob_names` of the tops of layer number `layer`. Raises: IndexError."""
        return self._places(self._net.tops[layer])

    def _bottom_ids(self, layer: int) -> list[int]:
        """The places in `_blob_names` of the bottoms of layer number `layer`. Raises:
        IndexError."""
        return self._places(self._net.bottoms[layer])

    def _places(self, blobs: list[CoreBlob]) -> list[int]:
        return [self._blob_names.index(blob.name) for blob in blobs]
