// Convolution with a kernel for each channel, on images of two spatial axes.
//
// x: (N, channels, height, width).  w: (channels, kernel_h, kernel_w).  bias: (channels,).  y, dy:
// (N, channels, out_h, out_w).

#include "common.cuh"
#include "affine.cuh"
#include "division.cuh"
#include "windows.cuh"

// SIZE: of square kernels, for loops that the compiler unrolls; 0: any.
template <int SIZE>
__device__ void outputs(size_t count, bool biased, const Windows& at, const T* x, const T* w,
                        const T* bias, T slope, T* out) {
  const int kernel_h = SIZE ? SIZE : at.kernel_h, kernel_w = SIZE ? SIZE : at.kernel_w;
  EACH(i, count) {
    size_t rest = i;
    const int left = (int)last_digit(rest, at.out_w) * at.stride_w - at.pad_w;
    const int top = (int)last_digit(rest, at.out_h) * at.stride_h - at.pad_h;
    const T* plane = x + rest * at.height * at.width;
    const unsigned channel = last_digit(rest, at.channels);
    const T* weight = w + (size_t)channel * kernel_h * kernel_w;
    T sum = 0;
#pragma unroll
    for (int kh = 0; kh < kernel_h; ++kh) {
      const int h = top + kh * at.dilation_h;
      const bool inside = (unsigned)h < (unsigned)at.height;
      const T* line = plane + (long long)h * at.width;
#pragma unroll
      for (int kw = 0; kw < kernel_w; ++kw) {
        const int column = left + kw * at.dilation_w;
        if (inside && (unsigned)column < (unsigned)at.width)
          sum += weight[kh * kernel_w + kw] * line[column];
      }
    }
    out[i] = rectified(biased ? sum + bias[channel] : sum, slope);
  }
}

// out: y. bias: not looked at unless `biased`. slope: of the ReLU behind; 1 where there is none.
extern "C" __global__ void depthwise_forward(size_t count, bool biased, T slope,
                                             const int* windows, const T* x, const T* w,
                                             const T* bias, T* out) {
  const Windows at = *(const Windows*)windows;
  if (at.kernel_h == 3 && at.kernel_w == 3)
    outputs<3>(count, biased, at, x, w, bias, slope, out);
  else
    outputs<0>(count, biased, at, x, w, bias, slope, out);
}

// out: the gradient of x, over the windows that hold each pixel.
extern "C" __global__ void depthwise_data(size_t count, const int* windows, const T* dy,
                                          const T* w, T* out) {
  const Windows at = *(const Windows*)windows;
  const int extent_h = at.dilation_h * (at.kernel_h - 1) + 1;
  const int extent_w = at.dilation_w * (at.kernel_w - 1) + 1;
  EACH(i, count) {
    size_t rest = i;
    const int x = (int)last_digit(rest, at.width) + at.pad_w;
    const int y = (int)last_digit(rest, at.height) + at.pad_h;
    const T* plane = dy + rest * at.out_h * at.out_w;
    const T* weight = w + (size_t)last_digit(rest, at.channels) * at.kernel_h * at.kernel_w;
    const Span rows = windows_over(y, extent_h, at.stride_h, at.out_h);
    const Span columns = windows_over(x, extent_w, at.stride_w, at.out_w);
    T sum = 0;
    for (int row = rows.from; row < rows.to; ++row) {
      int kh = y - row * at.stride_h;
      if (at.dilation_h > 1) {
        if (kh % at.dilation_h) continue;
        kh /= at.dilation_h;
      }
      for (int column = columns.from; column < columns.to; ++column) {
        int kw = x - column * at.stride_w;
        if (at.dilation_w > 1) {
          if (kw % at.dilation_w) continue;
          kw /= at.dilation_w;
        }
        sum += weight[kh * at.kernel_w + kw] * plane[(size_t)row * at.out_w + column];
      }
    }
    out[i] = sum;
  }
}

const int TILE = 9;  // weights whose gradients one block sums up: those of the usual kernel

// sums, (parts, channels, kernel_h, kernel_w): the gradient of w, of one part of all windows each.
// count: parts * channels * tiles.  tiles: of TILE weights in a kernel.  length: windows of a part.
// total: windows of a channel in all samples.
extern "C" __global__ void depthwise_weights(size_t count, unsigned tiles, size_t length,
                                             size_t total, const int* windows, const T* dy,
                                             const T* x, T* sums) {
  const Windows at = *(const Windows*)windows;
  const int kernel = at.kernel_h * at.kernel_w;
  const size_t pixels = (size_t)at.height * at.width, places = (size_t)at.out_h * at.out_w;
  EACH_ROW(row, count) {
    size_t rest = row;
    const int first = (int)last_digit(rest, tiles) * TILE;
    const size_t channel = last_digit(rest, at.channels), part = rest;
    int down[TILE], right[TILE];  // from a window's corner to the pixel of each weight
    T sum[TILE];
#pragma unroll
    for (int j = 0; j < TILE; ++j) {
      const int place = first + j;
      // beyond the kernel: a pixel above all images
      down[j] = place < kernel ? place / at.kernel_w * at.dilation_h - at.pad_h : -(1 << 30);
      right[j] = place % at.kernel_w * at.dilation_w - at.pad_w;
      sum[j] = 0;
    }
    const size_t end = min((part + 1) * length, total);
    for (size_t i = part * length + threadIdx.x; i < end; i += BLOCK) {
      size_t window = i;
      const int column = last_digit(window, at.out_w), line = last_digit(window, at.out_h);
      const size_t plane = window * at.channels + channel;
      const T gradient = dy[plane * places + (size_t)line * at.out_w + column];
#pragma unroll
      for (int j = 0; j < TILE; ++j) {
        const int h = line * at.stride_h + down[j], w = column * at.stride_w + right[j];
        if ((unsigned)h < (unsigned)at.height && (unsigned)w < (unsigned)at.width)
          sum[j] += gradient * x[plane * pixels + (size_t)h * at.width + w];
      }
    }
#pragma unroll
    for (int j = 0; j < TILE; ++j) {
      const T whole = block_sum(sum[j]);
      if (threadIdx.x == 0 && first + j < kernel)
        sums[(part * at.channels + channel) * kernel + first + j] = whole;
    }
  }
}
