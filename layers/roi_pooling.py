"""ROIPooling: regions of maps brought to one size by maxima."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.region_layer import RegionLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.region_geometry import RoiGeometry


@register_layer("ROIPooling")
class ROIPoolingLayer(RegionLayer):
    """The maximum of each of pooled_h x pooled_w parts of each region, of each channel.

    bottom[0]: (N, C, H, W) maps   bottom[1]: (R, 5) or (R, 5, 1, 1) regions, rows of image (0 to
    N-1, cut to an integer), x1, y1, x2, y2 in pixels of the images; they get no gradient, or 0
    top[0]: (R, C, pooled_h, pooled_w)
    roi_pooling_param: pooled_h (0): at least 1; pooled_w (0): at least 1; spatial_scale (1): pixels
    of a map for one of an image, above 0; pooled_size (none): not implemented, and refused

    Corners are scaled, then rounded, halves away from 0; x2 and y2 belong to the region, which is
    at least one pixel. Part i of a side of s pixels reaches from floor(i s / pooled) to
    ceil((i + 1) s / pooled) and is cut off at the map; an empty part gives 0. The gradient goes to
    the maximum, of equal ones to the first in row order; regions that overlap add up.

    Raises: ShapeError where a bottom is of another kind; LabelError at a region of no image of the
    batch, or with corners that are not finite; NetError at fields that are not positive.
    Source: R. Girshick, "Fast R-CNN", ICCV 2015, and the fork to it.

    Example: conv5 (2, 8, 14, 14), rois (3, 5) -> pool5 (3, 8, 7, 7)
        layer { name: "pool5" type: "ROIPooling" bottom: "conv5" bottom: "rois" top: "pool5"
          roi_pooling_param { pooled_h: 7 pooled_w: 7 spatial_scale: 0.0625 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.roi_pooling_param
        self.refuse_fork_fields(param)
        self.check_size("roi_pooling_param.pooled_h", param.pooled_h)
        self.check_size("roi_pooling_param.pooled_w", param.pooled_w)
        if param.pooled_size:
            self.error("roi_pooling_param.pooled_size: expected pooled_h and pooled_w. Give these.")
        self.scale = param.spatial_scale if param.HasField("spatial_scale") else 1.0
        self.check_scale("roi_pooling_param", self.scale)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, regions = self.param.roi_pooling_param, self.count_regions(bottom)
        pooled = param.pooled_h, param.pooled_w
        geometry = RoiGeometry(bottom[0].shape, regions, self.scale, pooled)
        top[0].reshape(geometry.out_shape)
        self.op = self.ops.roi_pooling(geometry, self.where)
        return True

    def backward_maps(self, top: Blobs, bottom: Blobs) -> None:
        self.op.backward(top[0].diff, bottom[0].data, bottom[1].data, out=bottom[0].diff)
