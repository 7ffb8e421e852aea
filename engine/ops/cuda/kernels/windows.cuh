// What kernels with windows share: sizes of planes and of the windows in them, and how an index is
// taken apart. To be included after division.cuh.

// The numbers of `plane_windows` (windows.py), in its order. Sizes are of images of two spatial
// axes.
struct Windows {
  int channels, height, width, out_h, out_w, kernel_h, kernel_w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

// Takes the last digit off an index: gives it, and leaves what is before it.
__device__ inline unsigned last_digit(size_t& index, unsigned size) {
  const Division at = divide(index, size);
  index = at.quotient;
  return (unsigned)at.rest;
}

// The windows that reach over a pixel, along one axis.
struct Span {
  int from, to;  // the first, and the one after the last
};

// pixel: counted from the padding's first.  extent: pixels from a window's first to its last.
__device__ inline Span windows_over(int pixel, int extent, int stride, int out) {
  Span span;
  span.from = pixel < extent ? 0 : (pixel - extent) / stride + 1;
  span.to = min(pixel / stride + 1, out);
  return span;
}
