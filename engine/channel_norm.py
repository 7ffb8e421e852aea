"""What layers that normalise channels share."""

from __future__ import annotations

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.ops.geometry import AxisGeometry


class ChannelNormLayer(NeuronLayer):
    """A layer that normalises each channel (axis 1; a blob of one axis is one channel).

    channels: how many, which stays.  of_batch: whether by the statistics of the bottom.
    """

    of_batch: bool

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: ShapeError where the bottom has no axis."""
        if bottom[0].num_axes == 0:
            self.shape_error(
                f"bottom '{bottom[0].name}'", "at least 1 axis", "a scalar", "Reshape the blob."
            )
        self.channels = self._around_channels(bottom[0]).size

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def geometry(self, x: Blob) -> AxisGeometry:
        """x seen as (samples, channels, pixels).

        Raises: ShapeError where the number of channels has changed, or there is nothing to take
        statistics of.
        """
        geometry = self._around_channels(x)
        if geometry.size != self.channels:
            self.shape_error(
                f"bottom '{x.name}'",
                f"{self.channels} channels, as when the statistics were made",
                f"{geometry.size} in shape {x.shape}",
                "Keep the number of channels fixed.",
            )
        if not x.count and self.of_batch:
            self.shape_error(
                f"bottom '{x.name}'",
                "at least 1 element per channel",
                f"shape {x.shape}",
                "Leave empty batches out.",
            )
        return geometry

    def _around_channels(self, x: Blob) -> AxisGeometry:
        return AxisGeometry.around(x.shape if x.num_axes > 1 else (*x.shape, 1), 1)
