"""Pooling of regions on a GPU."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.regions import FAR, RegionReader
from caffepy.engine.ops.region_geometry import PsRoiGeometry, RegionGeometry, RoiGeometry


class DeviceRegions(DeviceLabels):
    """Regions, which kernels read by `image_of` of regions.cu."""

    reader: ClassVar[type[LabelReader]] = RegionReader


class RegionOp(CudaOp):
    """Base of ops that pool regions of maps."""

    family = "regions"

    def __init__(self, ops: DeviceOps, geometry: RegionGeometry, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self._shape = geometry.shape
        self._scale = geometry.spatial_scale
        self._rois = DeviceRegions(ops, geometry.naming, None, where)

    def checked(self, rois: Value) -> tuple[Any, ...]:
        """For kernels: the maps' shape, the scale, the regions and who refuses bad ones."""
        label, _, _, *watch = self._rois.check(rois)
        return *self._shape, self._scale, FAR, label, *watch


class CudaRoiPooling(RegionOp):
    """The maximum of each bin of each region, 0 in an empty bin; of equal ones the first in row
    order gets the gradient. nan is left out; a bin without a number above -FLT_MAX gives that. Its
    backward pass is that of the last forward pass, whose choices it keeps.

    x: geometry.shape.  rois: (regions, 5) elements.  y: geometry.out_shape.
    """

    def __init__(self, ops: DeviceOps, geometry: RoiGeometry, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops, geometry, where)
        self._pooled = geometry.pooled
        self._regions = geometry.regions
        self._places = self.scratch(math.prod(geometry.out_shape), np.int32)

    @step(reads="x rois", writes="out")
    def forward(self, x: Value, rois: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a region is of no sample."""
        given = *self.checked(rois), *self._pooled
        self.launch("roi_forward", out.count, *given, x, out, self._places)

    @step(reads="dy x rois", writes="out")
    def backward(self, dy: Value, x: Value, rois: Value, *, out: Value) -> None:
        """out: gradient of x; those of regions that overlap add up."""
        given = *self.checked(rois), *self._pooled, self._regions
        self.launch("roi_backward", out.count, *given, dy, self._places, out)


class CudaPsRoiPooling(RegionOp):
    """The mean of each bin of each region, 0 in an empty bin; each bin has a channel of its own.

    x: geometry.shape.  rois: (regions, 5) elements.  y: geometry.out_shape.
    """

    def __init__(self, ops: DeviceOps, geometry: PsRoiGeometry, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops, geometry, where)
        self._group = geometry.group
        self._regions = geometry.regions

    @step(reads="x rois", writes="out")
    def forward(self, x: Value, rois: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a region is of no sample."""
        given = *self.checked(rois), self._group
        self.launch("psroi_forward", out.count, *given, x, out)

    @step(reads="dy rois", writes="out")
    def backward(self, dy: Value, rois: Value, *, out: Value) -> None:
        """out: gradient of x; those of regions that overlap add up."""
        given = *self.checked(rois), self._group, self._regions
        self.launch("psroi_backward", out.count, *given, dy, out)
