// The maximum, the mean or a random element of each window of a plane.
//
// x: (N, C, height, width).  out, dy: (N, C, out_h, out_w), one number for each window.  chosen: of
// each window the place of an element, in row order from the window's corner (which may lie in
// padding); bytes for kernels of up to 255 places.
// Kernels called ..._wide have a warp for each window, for kernels of many places; the others a
// thread.

#include "common.cuh"
#include "philox.cuh"
#include "division.cuh"
#include "windows.cuh"

// -FLT_MAX: what Caffe's maximum starts from, in double precision too
#define LOWEST ((T)-3.4028234663852886e+38)

// The part of a window that lies in its image, and where its plane starts.
struct Part {
  int top, left;  // the window's corner
  int from_h, to_h, from_w, to_w;
  const T* plane;
};

// SIZE, STRIDE: of square windows, which lets the compiler unroll and divide faster; 0: any.
template <int SIZE, int STRIDE>
__device__ inline Part part_of(size_t window, const Windows& at, const T* x) {
  Part part;
  part.left = (int)last_digit(window, at.out_w) * (STRIDE ? STRIDE : at.stride_w) - at.pad_w;
  part.top = (int)last_digit(window, at.out_h) * (STRIDE ? STRIDE : at.stride_h) - at.pad_h;
  part.from_h = max(part.top, 0), part.from_w = max(part.left, 0);
  part.to_h = min(part.top + (SIZE ? SIZE : at.kernel_h), at.height);
  part.to_w = min(part.left + (SIZE ? SIZE : at.kernel_w), at.width);
  part.plane = x + window * at.height * at.width;
  return part;
}

// The window's pixels in the padded image, by which a sum is divided.
__device__ inline T area_of(int top, int left, const Windows& at) {
  const int rows = min(top + at.kernel_h, at.height + at.pad_h) - top;
  return (T)rows * (min(left + at.kernel_w, at.width + at.pad_w) - left);
}

__device__ inline bool square(const Windows& at, int size, int stride) {
  return at.kernel_h == size && at.kernel_w == size && at.stride_h == stride &&
         at.stride_w == stride;
}

// Calls a function made for the windows `at`, if they are usual ones, else for any.
#define BY_SIZE(function, ...)       \
  if (square(at, 3, 2))              \
    function<3, 2>(__VA_ARGS__);     \
  else if (square(at, 2, 2))         \
    function<2, 2>(__VA_ARGS__);     \
  else if (square(at, 3, 1))         \
    function<3, 1>(__VA_ARGS__);     \
  else                               \
    function<0, 0>(__VA_ARGS__)

// ---- the maximum. It leaves nan out, and is LOWEST at least; the first one in row order counts,
// and of a window without a number above LOWEST its first pixel.

template <int SIZE, int STRIDE>
__device__ void maxima(size_t count, const Windows& at, const T* x, T* out,
                       unsigned char* chosen) {
  const int kernel_h = SIZE ? SIZE : at.kernel_h, kernel_w = SIZE ? SIZE : at.kernel_w;
  EACH(i, count) {
    const Part part = part_of<SIZE, STRIDE>(i, at, x);
    T most = LOWEST;
    int place = (part.from_h - part.top) * kernel_w + part.from_w - part.left;
#pragma unroll
    for (int kh = 0; kh < kernel_h; ++kh) {
      const int h = part.top + kh;
      const T* line = part.plane + (long long)h * at.width;
#pragma unroll
      for (int kw = 0; kw < kernel_w; ++kw) {
        const int w = part.left + kw;
        if (h < part.from_h || h >= part.to_h || w < part.from_w || w >= part.to_w) continue;
        const T here = line[w];
        if (here > most) most = here, place = kh * kernel_w + kw;
      }
    }
    out[i] = most;
    chosen[i] = place;
  }
}

extern "C" __global__ void max_forward(size_t count, const int* windows, const T* x, T* out,
                                       unsigned char* chosen) {
  const Windows at = *(const Windows*)windows;
  BY_SIZE(maxima, count, at, x, out, chosen);
}

// A loop of warps over windows.
#define EACH_WARP(i, count)                                                           \
  for (size_t i = (size_t)blockIdx.x * (BLOCK / 32) + threadIdx.x / 32; i < (count);  \
       i += (size_t)gridDim.x * (BLOCK / 32))

extern "C" __global__ void max_forward_wide(size_t count, const int* windows, const T* x, T* out,
                                            int* chosen) {
  const Windows at = *(const Windows*)windows;
  EACH_WARP(i, count) {
    const Part part = part_of<0, 0>(i, at, x);
    const int columns = part.to_w - part.from_w, pixels = (part.to_h - part.from_h) * columns;
    T most = LOWEST;
    int first = 0;
    for (int pixel = threadIdx.x % 32; pixel < pixels; pixel += 32) {
      const int h = part.from_h + pixel / columns, w = part.from_w + pixel % columns;
      const T here = part.plane[(size_t)h * at.width + w];
      if (here > most) most = here, first = pixel;
    }
    if (most == LOWEST) first = 0;
    for (int offset = 16; offset; offset /= 2) {
      const T other = __shfl_xor_sync(~0u, most, offset);
      const int place = __shfl_xor_sync(~0u, first, offset);
      if (other > most || (other == most && place < first)) most = other, first = place;
    }
    if (threadIdx.x % 32) continue;
    out[i] = most;
    const int h = part.from_h + first / max(columns, 1), w = part.from_w + first % max(columns, 1);
    chosen[i] = (h - part.top) * at.kernel_w + w - part.left;
  }
}

// mask: where in its plane, row * width + column, the chosen element of each window lies
template <class Place>
__device__ void places_in_planes(size_t count, const Windows& at, const Place* chosen, T* mask) {
  EACH(i, count) {
    size_t rest = i;
    const int left = (int)last_digit(rest, at.out_w) * at.stride_w - at.pad_w;
    const int top = (int)last_digit(rest, at.out_h) * at.stride_h - at.pad_h;
    const int place = chosen[i];
    mask[i] = (T)((top + place / at.kernel_w) * at.width + left + place % at.kernel_w);
  }
}

extern "C" __global__ void mask_of(size_t count, const int* windows, const unsigned char* chosen,
                                   T* mask) {
  places_in_planes(count, *(const Windows*)windows, chosen, mask);
}

extern "C" __global__ void mask_of_wide(size_t count, const int* windows, const int* chosen,
                                        T* mask) {
  places_in_planes(count, *(const Windows*)windows, chosen, mask);
}

// The gradient of pixels: over all windows that hold one, what share(window, row, column, kh, kw)
// gives, where the window is in that row and column of its plane and the pixel in (kh, kw) of it.
template <int SIZE, int STRIDE, class F>
__device__ void from_windows(size_t count, const Windows& at, T* out, F share) {
  const int kernel_h = SIZE ? SIZE : at.kernel_h, kernel_w = SIZE ? SIZE : at.kernel_w;
  const int stride_h = STRIDE ? STRIDE : at.stride_h, stride_w = STRIDE ? STRIDE : at.stride_w;
  const int most_h = (kernel_h + stride_h - 1) / stride_h;  // windows over a pixel
  const int most_w = (kernel_w + stride_w - 1) / stride_w;
  EACH(i, count) {
    size_t rest = i;
    const int w = (int)last_digit(rest, at.width) + at.pad_w;
    const int h = (int)last_digit(rest, at.height) + at.pad_h;
    const size_t plane = rest * at.out_h * at.out_w;
    const Span rows = windows_over(h, kernel_h, stride_h, at.out_h);
    const Span columns = windows_over(w, kernel_w, stride_w, at.out_w);
    T sum = 0;
#pragma unroll
    for (int r = 0; r < most_h; ++r) {
      const int row = rows.from + r;
#pragma unroll
      for (int c = 0; c < most_w; ++c) {
        const int column = columns.from + c;
        if (row < rows.to && column < columns.to)
          sum += share(plane + (size_t)row * at.out_w + column, row, column, h - row * stride_h,
                       w - column * stride_w);
      }
    }
    out[i] = sum;
  }
}

// out: gradient of x. Each pixel takes the gradients of the windows that chose it.
template <int SIZE, int STRIDE, class Place>
__device__ void from_chosen(size_t count, const Windows& at, const T* dy, const Place* chosen,
                            T* out) {
  const int kernel_w = SIZE ? SIZE : at.kernel_w;
  from_windows<SIZE, STRIDE>(count, at, out, [=](size_t window, int, int, int kh, int kw) {
    const T gradient = dy[window];  // read beside the place, not after it
    return chosen[window] == kh * kernel_w + kw ? gradient : (T)0;
  });
}

extern "C" __global__ void chosen_backward(size_t count, const int* windows, const T* dy,
                                           const unsigned char* chosen, T* out) {
  const Windows at = *(const Windows*)windows;
  BY_SIZE(from_chosen, count, at, dy, chosen, out);
}

extern "C" __global__ void chosen_backward_wide(size_t count, const int* windows, const T* dy,
                                                const int* chosen, T* out) {
  from_chosen<0, 0>(count, *(const Windows*)windows, dy, chosen, out);
}

// ---- the mean, padding counted as zeros

template <int SIZE, int STRIDE>
__device__ void means(size_t count, const Windows& at, const T* x, T* out) {
  const int kernel_h = SIZE ? SIZE : at.kernel_h, kernel_w = SIZE ? SIZE : at.kernel_w;
  EACH(i, count) {
    const Part part = part_of<SIZE, STRIDE>(i, at, x);
    T sum = 0;
#pragma unroll
    for (int kh = 0; kh < kernel_h; ++kh) {
      const int h = part.top + kh;
      const T* line = part.plane + (long long)h * at.width;
#pragma unroll
      for (int kw = 0; kw < kernel_w; ++kw) {
        const int w = part.left + kw;
        if (h >= part.from_h && h < part.to_h && w >= part.from_w && w < part.to_w) sum += line[w];
      }
    }
    out[i] = sum / area_of(part.top, part.left, at);
  }
}

extern "C" __global__ void ave_forward(size_t count, const int* windows, const T* x, T* out) {
  const Windows at = *(const Windows*)windows;
  BY_SIZE(means, count, at, x, out);
}

extern "C" __global__ void ave_forward_wide(size_t count, const int* windows, const T* x, T* out) {
  const Windows at = *(const Windows*)windows;
  EACH_WARP(i, count) {
    const Part part = part_of<0, 0>(i, at, x);
    const int columns = part.to_w - part.from_w, pixels = (part.to_h - part.from_h) * columns;
    T sum = 0;
    for (int pixel = threadIdx.x % 32; pixel < pixels; pixel += 32) {
      const int h = part.from_h + pixel / columns, w = part.from_w + pixel % columns;
      sum += part.plane[(size_t)h * at.width + w];
    }
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (threadIdx.x % 32 == 0) out[i] = sum / area_of(part.top, part.left, at);
  }
}

template <int SIZE, int STRIDE>
__device__ void from_means(size_t count, const Windows& at, const T* dy, T* out) {
  from_windows<SIZE, STRIDE>(count, at, out, [=](size_t window, int row, int column, int, int) {
    return dy[window] /
           area_of(row * at.stride_h - at.pad_h, column * at.stride_w - at.pad_w, at);
  });
}

// out: gradient of x
extern "C" __global__ void ave_backward(size_t count, const int* windows, const T* dy, T* out) {
  const Windows at = *(const Windows*)windows;
  BY_SIZE(from_means, count, at, dy, out);
}

// ---- an element drawn with a probability proportional to it

// out: the element where the window's cumulated sum is the first to reach its share of the whole.
// key: of the stream, whose 32-bit half number i belongs to window i.
extern "C" __global__ void draw(size_t count, const int* windows, unsigned long long key0,
                                unsigned long long key1, const unsigned long long* position,
                                const T* x, T* out, int* chosen) {
  const Windows at = *(const Windows*)windows;
  EACH(i, count) {
    const Words words = random_words(i / 8, *position, key0, key1);
    const unsigned half = (unsigned)(words.word[i / 2 % 4] >> (i % 2 * 32));
    const T share = (T)((half + 1.0) * (1.0 / 4294967296.0));
    const Part part = part_of<0, 0>(i, at, x);
    T whole = 0;
    for (int h = part.from_h; h < part.to_h; ++h)
      for (int w = part.from_w; w < part.to_w; ++w) whole += part.plane[(size_t)h * at.width + w];
    const T reach = whole * share;
    T total = 0, drawn = 0;
    int place = -1;
    for (int h = part.from_h; h < part.to_h && place < 0; ++h)
      for (int w = part.from_w; w < part.to_w && place < 0; ++w) {
        drawn = part.plane[(size_t)h * at.width + w];
        total += drawn;
        if (!(total < reach)) place = (h - part.top) * at.kernel_w + w - part.left;
      }
    out[i] = place < 0 ? (T)0 : whole == whole ? drawn : whole;  // nan stays
    chosen[i] = place;
  }
}

// out: sum of squares over sum of each window; 0 where the sum is not positive.
extern "C" __global__ void expected(size_t count, const int* windows, const T* x, T* out) {
  const Windows at = *(const Windows*)windows;
  EACH(i, count) {
    const Part part = part_of<0, 0>(i, at, x);
    T sum = 0, squares = 0;
    for (int h = part.from_h; h < part.to_h; ++h)
      for (int w = part.from_w; w < part.to_w; ++w) {
        const T here = part.plane[(size_t)h * at.width + w];
        sum += here;
        squares += here * here;
      }
    out[i] = sum > 0 ? squares / sum : squares * 0;  // nan stays
  }
}
