// What kernels with windows share: sizes of planes and of the windows in them, and how an index is
// taken apart.

// The whole numbers of a DeviceWindows, in its order. Sizes are of images of two spatial axes.
struct Windows {
  int channels, height, width, out_h, out_w, kernel_h, kernel_w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

// Takes the last digit off an index: gives it, and leaves what is before it. 64-bit division takes
// several times as long, so it is done where 32 bits do not suffice only.
__device__ inline unsigned last_digit(size_t& index, unsigned size) {
  if (index >> 32) {
    const size_t quotient = index / size;
    const unsigned digit = (unsigned)(index - quotient * size);
    index = quotient;
    return digit;
  }
  const unsigned all = (unsigned)index, quotient = all / size;
  index = quotient;
  return all - quotient * size;
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
