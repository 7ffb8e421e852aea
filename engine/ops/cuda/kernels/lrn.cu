// Local response normalisation: y = x s^-beta, s = k + weight * the sum of x^2 around each element.
// Its gradient is dy s^-beta - factor * x * the sum of dy y / s around each element.
//
// x, dy, out: (N, channels, plane), where the plane has height * width pixels. Beyond the edges
// there are zeros. Each sum is made anew, so that nan and inf reach no further than their
// neighbours.

#include "common.cuh"
#include "windows.cuh"

// scale^-beta; for the usual 0.75 by roots, which are several times faster.
__device__ inline T power(T scale, T beta) {
  if (beta != (T)0.75) return pow(scale, -beta);
  const T root = rsqrt(scale);
  return root * sqrt(root);
}

// ---- across SIZE channels. A thread walks along `length` channels of one pixel, and keeps those
// around in registers. count: N * segments * plane, where segments of that length cover all
// channels.

// What a thread walks along.
struct Segment {
  int from, to;   // channels
  size_t offset;  // of the pixel in channel 0
};

__device__ inline Segment segment_of(size_t i, int channels, int length, int segments,
                                     size_t plane) {
  const size_t pixel = last_digit(i, (unsigned)plane);
  Segment segment;
  segment.from = (int)last_digit(i, segments) * length;
  segment.to = min(segment.from + length, channels);
  segment.offset = i * channels * plane + pixel;
  return segment;
}

// Moves the numbers one place down, and puts another at the end.
template <int SIZE>
__device__ inline void push(T (&ring)[SIZE], T last) {
#pragma unroll
  for (int j = 0; j + 1 < SIZE; ++j) ring[j] = ring[j + 1];
  ring[SIZE - 1] = last;
}

template <int SIZE>
__device__ inline T scale_of(const T (&ring)[SIZE], T weight, T k) {
  T sum = 0;
#pragma unroll
  for (int j = 0; j < SIZE; ++j) sum += ring[j] * ring[j];
  return sum * weight + k;
}

template <int SIZE>
__device__ void across_forward(size_t count, int channels, int length, int segments, size_t plane,
                               T weight, T beta, T k, const T* x, T* out) {
  const int reach = SIZE / 2;
  EACH(i, count) {
    const Segment at = segment_of(i, channels, length, segments, plane);
    const T* source = x + at.offset;
    T* target = out + at.offset;
    T around[SIZE];  // x of channels c - reach ... c + reach
#pragma unroll
    for (int j = 1; j < SIZE; ++j) {
      const int c = at.from - reach + j - 1;
      around[j] = c >= 0 && c < channels ? source[c * plane] : (T)0;
    }
#pragma unroll 4
    for (int c = at.from; c < at.to; ++c) {
      push(around, c + reach < channels ? source[(c + reach) * plane] : (T)0);
      target[c * plane] = around[reach] * power(scale_of(around, weight, k), beta);
    }
  }
}

template <int SIZE>
__device__ void across_backward(size_t count, int channels, int length, int segments, size_t plane,
                                T weight, T beta, T k, T factor, const T* dy, const T* x, T* out) {
  const int reach = SIZE / 2;
  EACH(i, count) {
    const Segment at = segment_of(i, channels, length, segments, plane);
    const T* source = x + at.offset;
    const T* gradient = dy + at.offset;
    T* target = out + at.offset;
    T around[SIZE], ratios[SIZE];  // x of c ... c + 2 reach; dy y / s of c - reach ... c + reach
    T powers[SIZE / 2 + 1];        // dy s^-beta of c ... c + reach
    const int begin = at.from - 2 * reach;
#pragma unroll
    for (int j = 1; j < SIZE; ++j) {
      const int c = begin + j - 1;
      around[j] = c >= 0 && c < channels ? source[c * plane] : (T)0;
    }
#pragma unroll
    for (int j = 0; j < SIZE; ++j) ratios[j] = 0;
#pragma unroll
    for (int j = 0; j <= reach; ++j) powers[j] = 0;
#pragma unroll 4
    for (int c = begin; c < at.to; ++c) {
      const int ahead = c + reach, last = ahead + reach;
      push(around, last >= 0 && last < channels ? source[last * plane] : (T)0);
      T ratio = 0, share = 0;
      if (ahead >= 0 && ahead < channels) {
        const T scale = scale_of(around, weight, k);
        share = gradient[ahead * plane] * power(scale, beta);
        ratio = share * around[reach] / scale;
      }
      push(ratios, ratio);
      push(powers, share);
      if (c < at.from) continue;
      T sum = 0;
#pragma unroll
      for (int j = 0; j < SIZE; ++j) sum += ratios[j];
      target[c * plane] = powers[0] - sum * around[0] * factor;
    }
  }
}

extern "C" __global__ void across3_forward(size_t count, int channels, int length, int segments,
                                           size_t plane, T weight, T beta, T k, const T* x,
                                           T* out) {
  across_forward<3>(count, channels, length, segments, plane, weight, beta, k, x, out);
}

extern "C" __global__ void across5_forward(size_t count, int channels, int length, int segments,
                                           size_t plane, T weight, T beta, T k, const T* x,
                                           T* out) {
  across_forward<5>(count, channels, length, segments, plane, weight, beta, k, x, out);
}

extern "C" __global__ void across3_backward(size_t count, int channels, int length, int segments,
                                            size_t plane, T weight, T beta, T k, T factor,
                                            const T* dy, const T* x, T* out) {
  across_backward<3>(count, channels, length, segments, plane, weight, beta, k, factor, dy, x,
                     out);
}

extern "C" __global__ void across5_backward(size_t count, int channels, int length, int segments,
                                            size_t plane, T weight, T beta, T k, T factor,
                                            const T* dy, const T* x, T* out) {
  across_backward<5>(count, channels, length, segments, plane, weight, beta, k, factor, dy, x,
                     out);
}

// ---- any number of channels, or a window of a plane: a thread for each element, which reads all
// elements up to `reach` away along each axis

// A loop over the elements around number i: `near` is the number of each.
#define EACH_NEAR(near, i)                                                                        \
  size_t rest_ = i;                                                                               \
  const int w_ = last_digit(rest_, width), h_ = last_digit(rest_, height);                        \
  const int c_ = last_digit(rest_, channels);                                                     \
  for (int c = max(c_ - reach_c, 0); c <= min(c_ + reach_c, channels - 1); ++c)                   \
    for (int h = max(h_ - reach_h, 0); h <= min(h_ + reach_h, height - 1); ++h)                   \
      for (size_t near = ((rest_ * channels + c) * height + h) * width + max(w_ - reach_w, 0),    \
                  end_ = near - max(w_ - reach_w, 0) + min(w_ + reach_w, width - 1);              \
           near <= end_; ++near)

__device__ inline T scale_around(size_t i, int channels, int height, int width, int reach_c,
                                 int reach_h, int reach_w, T weight, T k, const T* x) {
  T sum = 0;
  EACH_NEAR(near, i) sum += x[near] * x[near];
  return sum * weight + k;
}

extern "C" __global__ void lrn_forward(size_t count, int channels, int height, int width,
                                       int reach_c, int reach_h, int reach_w, T weight, T beta,
                                       T k, const T* x, T* out) {
  EACH(i, count) {
    const T scale = scale_around(i, channels, height, width, reach_c, reach_h, reach_w, weight, k,
                                 x);
    out[i] = x[i] * power(scale, beta);
  }
}

// shares: dy s^-beta.  ratios: dy y / s.
extern "C" __global__ void lrn_ratios(size_t count, int channels, int height, int width,
                                      int reach_c, int reach_h, int reach_w, T weight, T beta, T k,
                                      const T* dy, const T* x, T* shares, T* ratios) {
  EACH(i, count) {
    const T scale = scale_around(i, channels, height, width, reach_c, reach_h, reach_w, weight, k,
                                 x);
    const T share = dy[i] * power(scale, beta);
    shares[i] = share;
    ratios[i] = share * x[i] / scale;
  }
}

// add_out: the shares; then the gradient.
extern "C" __global__ void lrn_backward(size_t count, int channels, int height, int width,
                                        int reach_c, int reach_h, int reach_w, T factor,
                                        const T* x, const T* ratios, T* add_out) {
  EACH(i, count) {
    T sum = 0;
    EACH_NEAR(near, i) sum += ratios[near];
    add_out[i] -= sum * x[i] * factor;
  }
}
