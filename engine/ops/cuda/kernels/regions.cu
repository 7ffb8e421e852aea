// Pooling of regions of maps, by bins.
//
// x: (samples, channels, height, width).  rois: (regions, 5), rows of sample, x1, y1, x2, y2 in
// pixels of images; scale: a map's pixels for one of these.  far: corners beyond it are taken for
// it.  number, add_watch: who refuses a region (Watch.add).
// Backward kernels gather: a thread adds up what the regions give to one element, in their order.

#include "common.cuh"
#include "labels.cuh"

// The sample of a region, cut to an integer; -1 where there is none, or a corner is not finite, of
// which the watch is told.
__device__ inline long long image_of(const T* rois, size_t region, size_t samples, u64 number,
                                     u64* watch) {
  for (int k = 1; k < 5; ++k) {
    const T corner = rois[region * 5 + k];
    if (corner - corner != 0) {
      report(watch, number, region * 5 + k, corner);
      return -1;
    }
  }
  return class_of(rois, region * 5, samples, false, 0, number, watch);
}

// A product that is rounded before anything is added to it, as on the host.
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

// The nearest whole number, halves away from 0, within what maps may reach.
__device__ inline T rounded(T x, T far) {
  const T size = fabs(x), whole = floor(size);
  const T nearest = size - whole >= (T)0.5 ? whole + 1 : whole;
  const T cut = nearest > far ? far : nearest;
  return x < 0 ? -cut : cut;
}

// The pixels of a bin along one axis of a map: the first, and the one after the last.
struct Span {
  int from, to;
};

__device__ inline int within(long long pixel, int limit) {
  return (int)(pixel < 0 ? 0 : pixel > limit ? limit : pixel);
}

// A region along one axis: `start` is where its bins begin, `bin` how large each is.
struct Extent {
  T start, bin;
};

// A region for roi_...; corner: of rois, its first corner along the axis; the other is two on.
__device__ inline Extent roi_extent(const T* corner, T scale, T far, int pooled) {
  const T start = rounded(corner[0] * scale, far), end = rounded(corner[2] * scale, far);
  const T size = end - start + 1;
  return {start, (size < 1 ? (T)1 : size) / (T)pooled};
}

__device__ inline Span roi_bin(Extent extent, int index, int limit) {
  const long long start = (long long)extent.start;
  return {within((long long)floor(product((T)index, extent.bin)) + start, limit),
          within((long long)ceil(product((T)(index + 1), extent.bin)) + start, limit)};
}

// A region for psroi_...; corner: as above.
__device__ inline Extent psroi_extent(const T* corner, T scale, T far, int group) {
  const T start = product(rounded(corner[0], far), scale);
  const T end = product(rounded(corner[2], far) + 1, scale);
  const T size = end - start;
  return {start, (size < (T)0.1 ? (T)0.1 : size) / (T)group};
}

__device__ inline Span psroi_bin(Extent extent, int index, int limit) {
  return {within((long long)floor(product((T)index, extent.bin) + extent.start), limit),
          within((long long)ceil(product((T)(index + 1), extent.bin) + extent.start), limit)};
}

// Maxima. out: (regions, channels, pooled_h, pooled_w), 0 for empty bins; places: like out, where in
// its plane each lies, row * width + column, the first of equal ones; -1: none.
extern "C" __global__ void roi_forward(size_t count, int samples, int channels, int height,
                                       int width, T scale, T far, const T* rois,
                                       unsigned long long number, unsigned long long* add_watch,
                                       int pooled_h, int pooled_w, const T* x, T* out,
                                       int* places) {
  EACH(i, count) {
    const int j = (int)(i % pooled_w), k = (int)(i / pooled_w % pooled_h);
    const size_t plane = i / pooled_w / pooled_h, region = plane / channels;
    const long long image = image_of(rois, region, samples, number, add_watch);
    T best = 0;
    int place = -1;
    if (image >= 0) {
      const T* box = rois + region * 5;
      const Span rows = roi_bin(roi_extent(box + 2, scale, far, pooled_h), k, height);
      const Span columns = roi_bin(roi_extent(box + 1, scale, far, pooled_w), j, width);
      const T* source = x + ((size_t)image * channels + plane % channels) * height * width;
      if (rows.from < rows.to && columns.from < columns.to) best = (T)-3.4028234663852886e+38;
      for (int row = rows.from; row < rows.to; ++row)
        for (int column = columns.from; column < columns.to; ++column) {
          const int here = row * width + column;
          if (source[here] > best) best = source[here], place = here;
        }
    }
    out[i] = best;
    places[i] = place;
  }
}

// The bins that may have a pixel, which lies `offset` pixels after the region's first.
__device__ inline Span bins_near(T offset, T bin, int pooled) {
  return {within((long long)floor(offset / bin) - 1, pooled),
          within((long long)floor((offset + 1) / bin) + 2, pooled)};
}

// The gradients of maxima. dy, places: of roi_forward; out: like x.
extern "C" __global__ void roi_backward(size_t count, int samples, int channels, int height,
                                        int width, T scale, T far, const T* rois,
                                        unsigned long long number, unsigned long long* add_watch,
                                        int pooled_h, int pooled_w, size_t regions, const T* dy,
                                        const int* places, T* out) {
  EACH(i, count) {
    const int area = height * width, here = (int)(i % area);
    const size_t plane = i / area, image = plane / channels, channel = plane % channels;
    T sum = 0;
    for (size_t region = 0; region < regions; ++region) {
      if (image_of(rois, region, samples, number, add_watch) != (long long)image) continue;
      const T* box = rois + region * 5;
      const Extent tall = roi_extent(box + 2, scale, far, pooled_h);
      const Extent wide = roi_extent(box + 1, scale, far, pooled_w);
      const Span rows = bins_near((T)(here / width) - tall.start, tall.bin, pooled_h);
      const Span columns = bins_near((T)(here % width) - wide.start, wide.bin, pooled_w);
      const size_t first = (region * channels + channel) * pooled_h * pooled_w;
      for (int k = rows.from; k < rows.to; ++k)
        for (int j = columns.from; j < columns.to; ++j) {
          const size_t one = first + (size_t)k * pooled_w + j;
          if (places[one] == here) sum += dy[one];
        }
    }
    out[i] = sum;
  }
}

// Means. channels: outputs * group^2; out: (regions, outputs, group, group), 0 for empty bins.
// Elements of out lie in a region as their channels lie in the maps.
extern "C" __global__ void psroi_forward(size_t count, int samples, int channels, int height,
                                         int width, T scale, T far, const T* rois,
                                         unsigned long long number,
                                         unsigned long long* add_watch, int group, const T* x,
                                         T* out) {
  EACH(i, count) {
    const int j = (int)(i % group), k = (int)(i / group % group);
    const size_t region = i / channels, channel = i % channels;
    const long long image = image_of(rois, region, samples, number, add_watch);
    T sum = 0;
    long long area = 0;
    if (image >= 0) {
      const T* box = rois + region * 5;
      const Span rows = psroi_bin(psroi_extent(box + 2, scale, far, group), k, height);
      const Span columns = psroi_bin(psroi_extent(box + 1, scale, far, group), j, width);
      const T* source = x + ((size_t)image * channels + channel) * height * width;
      for (int row = rows.from; row < rows.to; ++row)
        for (int column = columns.from; column < columns.to; ++column)
          sum += source[(size_t)row * width + column], ++area;
    }
    out[i] = area ? sum / (T)area : (T)0;
  }
}

// The gradients of means. dy: of psroi_forward; out: like x.
extern "C" __global__ void psroi_backward(size_t count, int samples, int channels, int height,
                                          int width, T scale, T far, const T* rois,
                                          unsigned long long number,
                                          unsigned long long* add_watch, int group,
                                          size_t regions, const T* dy, T* out) {
  EACH(i, count) {
    const int column = (int)(i % width), row = (int)(i / width % height);
    const size_t plane = i / width / height, image = plane / channels, channel = plane % channels;
    const int j = (int)(channel % group), k = (int)(channel / group % group);
    T sum = 0;
    for (size_t region = 0; region < regions; ++region) {
      if (image_of(rois, region, samples, number, add_watch) != (long long)image) continue;
      const T* box = rois + region * 5;
      const Span rows = psroi_bin(psroi_extent(box + 2, scale, far, group), k, height);
      const Span columns = psroi_bin(psroi_extent(box + 1, scale, far, group), j, width);
      if (row < rows.from || row >= rows.to || column < columns.from || column >= columns.to)
        continue;
      const T area = (T)((long long)(rows.to - rows.from) * (columns.to - columns.from));
      sum += dy[region * channels + channel] / area;
    }
    out[i] = sum;
  }
}
