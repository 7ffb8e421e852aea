"""PSROIPooling: position-sensitive pooling of regions."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.region_layer import RegionLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.region_geometry import PsRoiGeometry


@register_layer("PSROIPooling")
class PSROIPoolingLayer(RegionLayer):
    """The mean of each of group_size x group_size parts of each region; part (i, j) of output c is
    taken from channel (c group_size + i) group_size + j.

    bottom[0]: (N, output_dim * group_size^2, H, W) maps   bottom[1]: (R, 5) or (R, 5, 1, 1)
    regions, rows of image (0 to N-1, cut to an integer), x1, y1, x2, y2 in pixels of the images;
    they get no gradient, or 0   top[0]: (R, output_dim, group_size, group_size)
    psroi_pooling_param: spatial_scale (none): pixels of a map for one of an image, above 0;
    output_dim (none): at least 1; group_size (none): at least 1

    Corners are rounded, halves away from 0, then scaled; x2 and y2 belong to the region, which is
    at least 0.1 pixels large. Part i of a side of s pixels that starts at x reaches from
    floor(x + i s / group_size) to ceil(x + (i + 1) s / group_size) and is cut off at the map; an
    empty part gives 0. The gradients of regions that overlap add up.

    Raises: ShapeError where a bottom is of another kind, or the channels do not fit; LabelError at
    a region of no image of the batch, or with corners that are not finite; NetError at fields that
    are not given, or not positive.
    Source: J. Dai et al., "R-FCN", NIPS 2016, and the fork to it.

    Example: maps (2, 12, 14, 14), rois (3, 5) -> pooled (3, 3, 2, 2)
        layer { name: "pooled" type: "PSROIPooling" bottom: "maps" bottom: "rois" top: "pooled"
          psroi_pooling_param { spatial_scale: 0.0625 output_dim: 3 group_size: 2 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.psroi_pooling_param
        self.refuse_fork_fields(param)
        self.check_scale("psroi_pooling_param", param.spatial_scale)
        self.check_size("psroi_pooling_param.output_dim", param.output_dim)
        self.check_size("psroi_pooling_param.group_size", param.group_size)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, regions = self.param.psroi_pooling_param, self.count_regions(bottom)
        outputs, group = param.output_dim, param.group_size
        if bottom[0].shape[1] != outputs * group**2:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"{outputs * group**2} channels, output_dim {outputs} times group_size {group} "
                "squared",
                f"{bottom[0].shape[1]} in shape {bottom[0].shape}",
                "Change the num_output of the layer below, or these fields.",
            )
        geometry = PsRoiGeometry(bottom[0].shape, regions, param.spatial_scale, outputs, group)
        top[0].reshape(geometry.out_shape)
        self.op = self.ops.psroi_pooling(geometry, self.where)
        return True

    def backward_maps(self, top: Blobs, bottom: Blobs) -> None:
        self.op.backward(top[0].diff, bottom[1].data, out=bottom[0].diff)
