"""Geometries of ops that pool regions of maps: boxes on the images that the maps were made of.

Regions are rows (image, x1, y1, x2, y2): the number of a sample, cut to an integer, and corners in
pixels of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from caffepy.engine.ops.geometry import AxisGeometry, Shape


@dataclass(frozen=True)
class RegionGeometry:
    """Regions of maps of `shape`, (N, C, H, W). spatial_scale: pixels of a map for one of the
    image."""

    shape: Shape
    regions: int
    spatial_scale: float

    @property
    def naming(self) -> AxisGeometry:
        """The numbers of regions, (regions, 5), around the samples that they may name."""
        return AxisGeometry(self.regions, self.shape[0], 5)


@dataclass(frozen=True)
class RoiGeometry(RegionGeometry):
    """Each region in pooled[0] x pooled[1] bins.

    Corners are scaled, then rounded, halves away from 0; a region is at least one pixel. Bins are
    equal parts of it, widened to whole pixels and cut off at the map.
    """

    pooled: tuple[int, int]

    @property
    def out_shape(self) -> Shape:
        """(regions, C, *pooled)"""
        return (self.regions, self.shape[1], *self.pooled)


@dataclass(frozen=True)
class PsRoiGeometry(RegionGeometry):
    """Each region in group x group bins; C is outputs * group^2: bin (i, j) of output c has a
    channel of its own, (c group + i) group + j.

    Corners are rounded, halves away from 0, then scaled; x2 and y2 belong to the region. It is at
    least 0.1 pixels large. Bins are equal parts of it, widened to whole pixels and cut off at the
    map.
    """

    outputs: int
    group: int

    @property
    def out_shape(self) -> Shape:
        """(regions, outputs, group, group)"""
        return (self.regions, self.outputs, self.group, self.group)
