// Windows of images as the columns of a matrix, and back. Of some samples at a time, from number
// `first` on.
//
// x: (N, channels, *spatial).  y: (N, channels, places), a number for each window.  columns: one
// number for each channel, place in the kernel (`kernel` of them; together the row), sample and
// window; rows lie row_step apart, the windows of a sample side by side, samples sample_step apart.
// Kernels that only move numbers also exist for columns and outputs of 16 bits each, C.

#include "common.cuh"
#include "affine.cuh"
#include "half.cuh"
#include "division.cuh"
#include "windows.cuh"

// columns = the windows of x, 0 in padding; count: channels * samples * out_h * out_w.
template <class C>
__device__ inline void take_windows(size_t count, size_t samples, size_t first, size_t row_step,
                                    size_t sample_step, const int* windows,
                                    const T* __restrict__ x, C* __restrict__ columns) {
  const Windows at = *(const Windows*)windows;
  EACH(i, count) {
    size_t rest = i;
    const int column = last_digit(rest, at.out_w), row = last_digit(rest, at.out_h);
    const size_t sample = last_digit(rest, (unsigned)samples), channel = rest;
    const int top = row * at.stride_h - at.pad_h, left = column * at.stride_w - at.pad_w;
    const T* plane = x + ((first + sample) * at.channels + channel) * at.height * at.width;
    C* target = columns + channel * at.kernel_h * at.kernel_w * row_step + sample * sample_step +
                (size_t)row * at.out_w + column;
    for (int kh = 0; kh < at.kernel_h; ++kh) {
      const int h = top + kh * at.dilation_h;
      const bool inside = (unsigned)h < (unsigned)at.height;
      const T* line = plane + (long long)h * at.width;
      for (int kw = 0; kw < at.kernel_w; ++kw) {
        const int w = left + kw * at.dilation_w;
        *target = C(inside && (unsigned)w < (unsigned)at.width ? line[w] : (T)0);
        target += row_step;
      }
    }
  }
}

extern "C" __global__ void im2col(size_t count, size_t samples, size_t first, size_t row_step,
                                  size_t sample_step, const int* windows, const T* x, T* columns) {
  take_windows(count, samples, first, row_step, sample_step, windows, x, columns);
}

extern "C" __global__ void im2col_fp16(size_t count, size_t samples, size_t first, size_t row_step,
                                       size_t sample_step, const int* windows, const T* x,
                                       unsigned short* columns) {
  take_windows(count, samples, first, row_step, sample_step, windows, x, (Fp16*)columns);
}

extern "C" __global__ void im2col_bf16(size_t count, size_t samples, size_t first, size_t row_step,
                                       size_t sample_step, const int* windows, const T* x,
                                       unsigned short* columns) {
  take_windows(count, samples, first, row_step, sample_step, windows, x, (Bf16*)columns);
}

// x = the sum of the columns over each pixel; count: samples * channels * height * width.
extern "C" __global__ void col2im(size_t count, size_t samples, size_t first, size_t row_step,
                                  size_t sample_step, const int* windows, const T* columns,
                                  T* add_x) {
  const Windows at = *(const Windows*)windows;
  const int extent_h = at.dilation_h * (at.kernel_h - 1) + 1;
  const int extent_w = at.dilation_w * (at.kernel_w - 1) + 1;
  T* target = add_x + first * at.channels * at.height * at.width;
  EACH(i, count) {
    size_t rest = i;
    const int w = (int)last_digit(rest, at.width) + at.pad_w;
    const int h = (int)last_digit(rest, at.height) + at.pad_h;
    const size_t channel = last_digit(rest, at.channels), sample = rest;
    const T* source = columns + channel * at.kernel_h * at.kernel_w * row_step +
                      sample * sample_step;
    const Span rows = windows_over(h, extent_h, at.stride_h, at.out_h);
    const Span lines = windows_over(w, extent_w, at.stride_w, at.out_w);
    T sum = 0;
    for (int row = rows.from; row < rows.to; ++row) {
      const int kh = h - row * at.stride_h;
      if (kh % at.dilation_h) continue;
      for (int column = lines.from; column < lines.to; ++column) {
        const int kw = w - column * at.stride_w;
        if (kw % at.dilation_w) continue;
        const size_t place = (size_t)(kh / at.dilation_h) * at.kernel_w + kw / at.dilation_w;
        sum += source[place * row_step + (size_t)row * at.out_w + column];
      }
    }
    target[i] = sum;
  }
}

// The same for any number of spatial axes. sizes: (axes, 6), of each axis its pixels, windows,
// kernel, stride, pad and dilation.

// count: channels * kernel * samples * places
template <class C>
__device__ inline void take_any_windows(size_t count, int axes, size_t channels, size_t kernel,
                                        size_t samples, size_t places, size_t first,
                                        size_t row_step, size_t sample_step, const int* sizes,
                                        const T* x, C* columns) {
  EACH(i, count) {
    size_t rest = i / places, window = i % places;
    const size_t sample = rest % samples, row = rest / samples;
    size_t place = row % kernel, pixel = 0, step = 1;
    C* target = columns + row * row_step + sample * sample_step + window;
    bool inside = true;
    for (int axis = axes - 1; axis >= 0; --axis) {
      const int* size = sizes + 6 * axis;
      const long long at = (long long)last_digit(window, size[1]) * size[3] - size[4] +
                           (long long)last_digit(place, size[2]) * size[5];
      inside = inside && at >= 0 && at < size[0];
      pixel += at * step;
      step *= size[0];
    }
    const size_t plane = (first + sample) * channels + row / kernel;
    *target = C(inside ? x[plane * step + pixel] : (T)0);
  }
}

extern "C" __global__ void im2col_any(size_t count, int axes, size_t channels, size_t kernel,
                                      size_t samples, size_t places, size_t first, size_t row_step,
                                      size_t sample_step, const int* sizes, const T* x,
                                      T* columns) {
  take_any_windows(count, axes, channels, kernel, samples, places, first, row_step, sample_step,
                   sizes, x, columns);
}

extern "C" __global__ void im2col_any_fp16(size_t count, int axes, size_t channels, size_t kernel,
                                           size_t samples, size_t places, size_t first,
                                           size_t row_step, size_t sample_step, const int* sizes,
                                           const T* x, unsigned short* columns) {
  take_any_windows(count, axes, channels, kernel, samples, places, first, row_step, sample_step,
                   sizes, x, (Fp16*)columns);
}

extern "C" __global__ void im2col_any_bf16(size_t count, int axes, size_t channels, size_t kernel,
                                           size_t samples, size_t places, size_t first,
                                           size_t row_step, size_t sample_step, const int* sizes,
                                           const T* x, unsigned short* columns) {
  take_any_windows(count, axes, channels, kernel, samples, places, first, row_step, sample_step,
                   sizes, x, (Bf16*)columns);
}

// count: samples * channels * pixels
extern "C" __global__ void col2im_any(size_t count, int axes, size_t channels, size_t kernel,
                                      size_t pixels, size_t first, size_t row_step,
                                      size_t sample_step, const int* sizes, const T* columns,
                                      T* add_x) {
  T* target = add_x + first * channels * pixels;
  EACH(i, count) {
    const size_t plane = i / pixels, sample = plane / channels, channel = plane % channels;
    const T* source = columns + channel * kernel * row_step + sample * sample_step;
    T sum = 0;
    for (size_t number = 0; number < kernel; ++number) {
      size_t place = number, pixel = i % pixels, window = 0, step = 1;
      bool hit = true;
      for (int axis = axes - 1; axis >= 0 && hit; --axis) {
        const int* size = sizes + 6 * axis;
        const long long at = (long long)last_digit(pixel, size[0]) + size[4] -
                             (long long)last_digit(place, size[2]) * size[5];
        hit = at >= 0 && at % size[3] == 0 && at / size[3] < size[1];
        window += at / size[3] * step;
        step *= size[1];
      }
      if (hit) sum += source[number * row_step + window];
    }
    target[i] = sum;
  }
}

// What a product of weights and columns gives or takes: outputs, (channels, samples, places).

// outputs = y; count: channels * samples * places.
template <class C>
__device__ inline void take_outputs(size_t count, size_t channels, size_t samples, size_t places,
                                    size_t first, const T* y, C* outputs) {
  EACH(i, count) {
    size_t rest = i;
    const size_t window = last_digit(rest, (unsigned)places);
    const size_t sample = last_digit(rest, (unsigned)samples);
    outputs[i] = C(y[((first + sample) * channels + rest) * places + window]);
  }
}

extern "C" __global__ void by_channel(size_t count, size_t channels, size_t samples, size_t places,
                                      size_t first, const T* y, T* outputs) {
  take_outputs(count, channels, samples, places, first, y, outputs);
}

extern "C" __global__ void by_channel_fp16(size_t count, size_t channels, size_t samples,
                                           size_t places, size_t first, const T* y,
                                           unsigned short* outputs) {
  take_outputs(count, channels, samples, places, first, y, (Fp16*)outputs);
}

extern "C" __global__ void by_channel_bf16(size_t count, size_t channels, size_t samples,
                                           size_t places, size_t first, const T* y,
                                           unsigned short* outputs) {
  take_outputs(count, channels, samples, places, first, y, (Bf16*)outputs);
}

// y = relu(outputs + bias); bias: (channels,), not looked at unless `biased`. slope: of the ReLU; 1
// where there is none.
extern "C" __global__ void by_sample(size_t count, size_t channels, size_t samples, size_t places,
                                     size_t first, bool biased, T slope, const T* outputs,
                                     const T* bias, T* add_y) {
  T* target = add_y + first * channels * places;
  EACH(i, count) {
    size_t rest = i;
    const size_t window = last_digit(rest, (unsigned)places);
    const size_t channel = last_digit(rest, (unsigned)channels);
    const T at = outputs[(channel * samples + rest) * places + window];
    target[i] = rectified(biased ? at + bias[channel] : at, slope);
  }
}
