"""Net as pycaffe shows it: blobs and parameters as arrays, passes by layer and blob names."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np

from caffepy.engine import net as engine
from caffepy.engine.copied import CopyTable
from caffepy.engine.core.blob import Blob as CoreBlob
from caffepy.engine.core.errors import NetError
from caffepy.engine.hooks import Hook
from caffepy.engine.ops.base import Ops
from caffepy.engine.pybatch import Arrays, batches, fill, joined, samples
from caffepy.engine.pyblob import Blob, BlobVec
from caffepy.engine.pybuild import PHASES, FileName, build, build_with_weights
from caffepy.engine.pylayer import Layer, shown_layer
from caffepy.engine.pymode import NCCL
from caffepy.engine.pyviews import NetViews
from caffepy.engine.usercode import raising_as_user
from caffepy.engine.weights import load_weights
from caffepy.engine.weights_file import save_weights
from caffepy.proto.errors import did_you_mean


class Net(NetViews):
    """A net of a prototxt file.

        net = Net("deploy.prototxt", caffe.TEST, weights="lenet.caffemodel")
        net.blobs["data"].data[...] = images
        probabilities = net.forward()["prob"]

    Arrays are the net's memory: what is written into them is what the net goes on with, and they
    show what later passes write. In float32.

    layers: in order, Split layers included; each has type and blobs, layers of the user's own
    Python class are its objects.  inputs, outputs: names of blobs.
    """

    @overload
    def __init__(
        self,
        network_file: FileName,
        phase: int | str,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: FileName | None = None,
        *,
        ops: Ops | None = None,
        on_mismatch: str = "error",
        dialect: str = "",
    ) -> None: ...

    @overload
    def __init__(
        self,
        network_file: FileName,
        weights: FileName,
        phase: int | str,
        *,
        ops: Ops | None = None,
        on_mismatch: str = "error",
        dialect: str = "",
    ) -> None: ...

    def __init__(self, network_file: FileName, *args: Any, **named: Any) -> None:
        """Net(network_file, phase, level=0, stages=None, weights=None) builds the net.

        network_file: a prototxt.  phase: caffe.TRAIN or caffe.TEST, or "TRAIN" or "TEST".  level,
        stages: what the layers' include and exclude rules refer to.  weights: a .caffemodel or
        .caffemodel.h5.
        Also in the old order: Net(network_file, weights, phase).
        ops: the backend; oneDNN's where it is installed, by default.  on_mismatch: see copy_from;
        with `skip` the log tells what was copied.  dialect: the fork that the prototxt is of, as
        "ssd"; for types that have several meanings, where the prototxt does not show which.

        Raises: CaffepyError where the net cannot be built; TypeError for wrong arguments.
        """
        if args and isinstance(args[0], str | os.PathLike) and args[0] not in PHASES:
            built = build_with_weights(network_file, *args, **named)
        else:
            built = build(network_file, *args, **named)
        self._show(built)

    @classmethod
    def of(cls, net: engine.Net) -> Net:
        """Shows a net that was built already."""
        shown = cls.__new__(cls)
        shown._show(net)
        return shown

    def _show(self, net: engine.Net) -> None:
        self._net = net
        self._close = weakref.finalize(self, net.close)
        self.layers: list[Layer] = [shown_layer(layer) for layer in net.layers]
        self.inputs: list[str] = list(net.inputs)
        self.outputs: list[str] = list(net.outputs)
        self._layer_names: list[str] = [layer.name for layer in net.layers]
        self._blob_names: list[str] = list(net.blobs)
        self.blobs: OrderedDict[str, Blob] = OrderedDict(
            (name, Blob(blob)) for name, blob in net.blobs.items()
        )
        self.params: OrderedDict[str, BlobVec] = OrderedDict(
            (name, layer.blobs)
            for name, layer in zip(self._layer_names, self.layers, strict=True)
            if len(layer.blobs)
        )
        self.layer_dict: OrderedDict[str, Layer] = OrderedDict(
            zip(self._layer_names, self.layers, strict=True)
        )
        self.top_names = self._names(net.tops)
        self.bottom_names = self._names(net.bottoms)
        weights = net.loss_weights
        self.blob_loss_weights: OrderedDict[str, float] = OrderedDict(
            (name, weights.get(name, 0.0)) for name in net.blobs
        )

    def _names(self, blobs: Sequence[Sequence[CoreBlob]]) -> OrderedDict[str, list[str]]:
        return OrderedDict(
            (name, [blob.name for blob in of_layer])
            for name, of_layer in zip(self._layer_names, blobs, strict=True)
        )

    # ---- passes

    def forward(
        self,
        blobs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, np.ndarray]:
        """Runs the layers from `start` to `end` (names, both included; all by default).

        kwargs: arrays for the inputs, by blob name; all of them or none.
        Returns the data of the outputs, of the tops of `end` where it is given, and of `blobs`.

        Raises: NetError where names or shapes are wrong; what the user's own layers raise.
        """
        outputs = self._wanted(self.outputs if end is None else self._of(end, "top"), blobs)
        first, last = self._range(start, end)
        fill(self.blobs, "data", kwargs, self.inputs, f"net '{self._net.name}'")
        self._forward(first, last)
        return {name: self.blobs[name].data for name in outputs}

    def backward(
        self,
        diffs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: Any,
    ) -> dict[str, np.ndarray]:
        """Runs the layers back from `start` to `end` (names, both included; all by default). Diffs
        of parameters are added to: `clear_param_diffs` makes them zero.

        kwargs: diffs for the outputs, by blob name; all of them or none.
        Returns the diffs of the inputs, of the bottoms of `end` where it is given, and of `diffs`.

        A layer that has not run forward yet does so first; its tops keep what they hold.
        Raises: NetError where names or shapes are wrong; what the user's own layers raise.
        """
        wanted = self._wanted(self.inputs if end is None else self._of(end, "bottom"), diffs)
        last, first = self._range(end, start)
        fill(self.blobs, "diff", kwargs, self.outputs, f"net '{self._net.name}'")
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def forward_all(self, blobs: Iterable[str] | None = None, **kwargs: Any) -> Arrays:
        """Runs forward over any number of samples, batch by batch; the last is filled with zeros.

        kwargs: arrays for all inputs, with as many samples each.
        Returns new arrays of the outputs and of `blobs`, for all samples.
        """
        wanted = self._wanted((), blobs)
        found = [_copied(self.forward(wanted, **batch)) for batch in self._batch(kwargs)]
        return joined(found, self._batch_size, samples(kwargs))

    def forward_backward_all(
        self, blobs: Iterable[str] | None = None, diffs: Iterable[str] | None = None, **kwargs: Any
    ) -> tuple[Arrays, Arrays]:
        """Runs forward and backward over any number of samples, batch by batch.

        kwargs: arrays for all inputs, diffs for all outputs, or either.
        Returns new arrays of data as from forward, and of diffs as from backward.
        """
        known = {*self.inputs, *self.outputs}
        self._refuse_names([name for name in kwargs if name not in known], known)
        wanted, wanted_diffs = self._wanted((), blobs), self._wanted((), diffs)
        found, found_diffs = [], []
        for batch in self._batch(kwargs):
            inputs: dict[str, Any] = {name: batch[name] for name in self.inputs if name in batch}
            outputs: dict[str, Any] = {name: batch[name] for name in self.outputs if name in batch}
            found.append(_copied(self.forward(wanted, **inputs)))
            found_diffs.append(_copied(self.backward(wanted_diffs, **outputs)))
        size, count = self._batch_size, samples(kwargs)
        return joined(found, size, count), joined(found_diffs, size, count)

    def _forward(self, start: int, end: int) -> float:
        """Runs the layers of these indices, both included. Returns their loss."""
        raising_as_user(lambda: self._net.forward(start, end))
        return float(self._net.loss.read())

    def _backward(self, start: int, end: int) -> None:
        """Runs the layers of these indices back, both included."""
        raising_as_user(lambda: self._run_backward(start, end))

    def _run_backward(self, start: int, end: int) -> None:
        net = self._net
        for index in range(max(end, 0), min(start + 1, len(net.layers))):
            if net.layer_needs_backward[index] and index not in net.ran:
                tops = [(blob, blob.data.read().copy()) for blob in net.tops[index]]
                net.repeat_layer(index)
                for blob, held in tops:
                    blob.data.write()[...] = held
        net.backward(start, end)

    def _batch(self, blobs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The arrays cut into batches, the last one filled up with zeros."""
        return batches(blobs, self._batch_size)

    @property
    def _batch_size(self) -> int:
        """That of the first blob."""
        return next(iter(self.blobs.values())).shape[0]

    # ---- shapes and parameters

    def reshape(self) -> None:
        """Lets all layers take the shapes that follow from those of the inputs. A forward pass does
        so too. Raises: ShapeError where a layer cannot."""
        raising_as_user(self._net.reshape)

    def clear_param_diffs(self) -> None:
        """Makes the diffs of all parameters zero."""
        self._net.parameters.clear_diffs()

    def copy_from(self, weights: FileName, on_mismatch: str = "error") -> CopyTable:
        """Copies the parameters in a .caffemodel or .caffemodel.h5 into the layers of the same
        name; with on_mismatch `skip` except blobs of another shape, which are else refused.
        Returns a table of what was copied. Raises: WeightsError; the net is then unchanged."""
        return load_weights(self._net, weights, on_mismatch=on_mismatch)

    def load_hdf5(self, weights: FileName) -> None:
        """`copy_from`."""
        self.copy_from(weights)

    def share_with(self, other: Net) -> None:
        """Takes the parameters of the layers of the same name in `other`: from now on they are the
        same memory. Raises: NetError where shapes differ."""
        self._net.share_parameters(other._net)

    def save(self, path: FileName) -> None:
        """Writes the parameters as a .caffemodel. Raises: SnapshotError."""
        save_weights(self._net, Path(path))

    def save_hdf5(self, path: FileName) -> None:
        """Writes the parameters as a .caffemodel.h5. Raises: SnapshotError."""
        save_weights(self._net, Path(path), hdf5=True)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Gives the MemoryData layer, which must be the first, its samples; see there.

        Raises: NetError where there is none, or they do not fit.
        """
        layer: Any = self._net.layers[0]
        if layer.type != "MemoryData":
            raise NetError(
                f"net '{self._net.name}': set_input_arrays: expected a MemoryData layer as the "
                f"first, got '{layer.name}' ({layer.type}). Use net.blobs[name].data[...] = array "
                "for inputs."
            )
        layer.reset(np.asarray(data), np.asarray(labels))

    # ---- hooks

    def before_forward(self, hook: Hook) -> None:
        """Has `hook(index)` called before each layer runs forward."""
        self._net.hooks.before_forward.append(hook)

    def after_forward(self, hook: Hook) -> None:
        """Has `hook(index)` called after each layer has run forward."""
        self._net.hooks.after_forward.append(hook)

    def before_backward(self, hook: Hook) -> None:
        """Has `hook(index)` called before each layer runs backward."""
        self._net.hooks.before_backward.append(hook)

    def after_backward(self, hook: Hook | NCCL) -> None:
        """Has `hook(index)` called after each layer has run backward."""
        if not isinstance(hook, NCCL):  # one process has no gradients to exchange
            self._net.hooks.after_backward.append(hook)

    # ---- its end

    def close(self) -> None:
        """Ends the threads and files of all layers, as happens when the net is no longer used."""
        self._close()

    def __enter__(self) -> Net:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- arguments

    def _range(self, start: str | None, end: str | None) -> tuple[int, int]:
        """The indices of two layers in their order. Raises: NetError."""
        first = 0 if start is None else self._index(start)
        last = len(self.layers) - 1 if end is None else self._index(end)
        if first > last:
            raise NetError(
                f"net '{self._net.name}': expected the layers of a range in their order, got "
                f"'{self._layer_names[first]}' before '{self._layer_names[last]}'. Exchange start "
                "and end."
            )
        return first, last

    def _index(self, layer: str) -> int:
        if layer not in self.layer_dict:
            remedy = did_you_mean(str(layer), self.layer_dict) or " Its _layer_names lists them."
            raise NetError(
                f"net '{self._net.name}': expected the name of a layer, got '{layer}'.{remedy}"
            )
        return self._layer_names.index(layer)

    def _of(self, layer: str, kind: str) -> list[str]:
        """The names of the tops or bottoms of a layer. Raises: NetError."""
        blobs = (self._net.tops if kind == "top" else self._net.bottoms)[self._index(layer)]
        return [blob.name for blob in blobs]

    def _wanted(self, names: Iterable[str], more: Iterable[str] | None) -> list[str]:
        """Both without repetition. Raises: NetError where there is no such blob; TypeError where
        `more` is a single name, or holds something else."""
        if isinstance(more, str):
            raise TypeError(f"expected a list of names of blobs, got '{more}'. Write ['{more}'].")
        added = [] if more is None else list(more)
        if not all(isinstance(name, str) for name in added):
            raise TypeError("expected a list of names of blobs. Name arrays: forward(data=array).")
        wanted = list(dict.fromkeys([*names, *added]))
        self._refuse_names([name for name in wanted if name not in self.blobs], self.blobs)
        return wanted

    def _refuse_names(self, unknown: Sequence[str], known: Iterable[str]) -> None:
        """Raises: NetError where there are any that are unknown."""
        if unknown:
            remedy = did_you_mean(unknown[0], known) or f" There are {', '.join(known)}."
            raise NetError(
                f"net '{self._net.name}': expected names of blobs, got '{unknown[0]}'.{remedy}"
            )


def _copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}
