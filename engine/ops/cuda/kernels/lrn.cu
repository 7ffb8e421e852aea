// Local response normalisation: y = x s^-beta, s = k + weight * the sum of x^2 around each element.
// Its gradient is dy s^-beta - factor * x * the sum of dy y / s around each element.
//
// x, dy, out: (N, channels, plane), where the plane has height * width pixels. Beyond the edges
// there are zeros. Each sum is made anew, so that nan and inf reach no further than their
// neighbours.

#include "common.cuh"
#include "division.cuh"
#include "windows.cuh"

#define USUAL ((T)0.75)  // beta for which there are roots in place of powers, several times faster

// scale^-beta
template <bool ROOTS>
__device__ inline T power(T scale, T beta) {
  if (!ROOTS) return pow(scale, -beta);
  const T root = rsqrt(scale);
  return root * sqrt(root);
}

__device__ inline T power(T scale, T beta) {
  return beta == USUAL ? power<true>(scale, beta) : power<false>(scale, beta);
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

const int BATCH = 4;  // channels that are read before any is worked on, so that reads overlap

template <int SIZE, bool ROOTS>
__device__ void across_forward(size_t count, int channels, int length, int segments, size_t plane,
                               T weight, T beta, T k, const T* __restrict__ x,
                               T* __restrict__ out) {
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
    for (int batch = at.from; batch < at.to; batch += BATCH) {
      T read[BATCH];
#pragma unroll
      for (int j = 0; j < BATCH; ++j) {
        const int last = batch + j + reach;
        read[j] = last < channels ? source[last * plane] : (T)0;
      }
#pragma unroll
      for (int j = 0; j < BATCH; ++j) {
        push(around, read[j]);
        if (batch + j < at.to)
          target[(batch + j) * plane] =
              around[reach] * power<ROOTS>(scale_of(around, weight, k), beta);
      }
    }
  }
}

template <int SIZE, bool ROOTS>
__device__ void across_backward(size_t count, int channels, int length, int segments, size_t plane,
                                T weight, T beta, T k, T factor, const T* __restrict__ dy,
                                const T* __restrict__ x, T* __restrict__ out) {
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
    for (int j = 0; j < SIZE; ++j) {
      const int c = begin + j - 1;
      around[j] = j && c >= 0 && c < channels ? source[c * plane] : (T)0;
      ratios[j] = 0;
    }
#pragma unroll
    for (int j = 0; j <= reach; ++j) powers[j] = 0;
    for (int batch = begin; batch < at.to; batch += BATCH) {
      T read[BATCH], dy_read[BATCH];
#pragma unroll
      for (int j = 0; j < BATCH; ++j) {
        const int ahead = batch + j + reach, last = ahead + reach;
        read[j] = last >= 0 && last < channels ? source[last * plane] : (T)0;
        dy_read[j] = ahead >= 0 && ahead < channels ? gradient[ahead * plane] : (T)0;
      }
#pragma unroll
      for (int j = 0; j < BATCH; ++j) {
        const int c = batch + j, ahead = c + reach;
        push(around, read[j]);
        const T scale = scale_of(around, weight, k);
        const T share = dy_read[j] * power<ROOTS>(scale, beta);
        const bool inside = ahead >= 0 && ahead < channels;  // a scale of 0 is no number elsewhere
        push(ratios, inside ? share * around[reach] / scale : (T)0);
        push(powers, share);
        if (c < at.from || c >= at.to) continue;
        T sum = 0;
#pragma unroll
        for (int near = 0; near < SIZE; ++near) sum += ratios[near];
        target[c * plane] = powers[0] - sum * around[0] * factor;
      }
    }
  }
}

#define BY_BETA(function, SIZE, ...)      \
  if (beta == USUAL)                      \
    function<SIZE, true>(__VA_ARGS__);    \
  else                                    \
    function<SIZE, false>(__VA_ARGS__)

extern "C" __global__ void across3_forward(size_t count, int channels, int length, int segments,
                                           size_t plane, T weight, T beta, T k,
                                           const T* __restrict__ x, T* __restrict__ out) {
  BY_BETA(across_forward, 3, count, channels, length, segments, plane, weight, beta, k, x, out);
}

extern "C" __global__ void across5_forward(size_t count, int channels, int length, int segments,
                                           size_t plane, T weight, T beta, T k,
                                           const T* __restrict__ x, T* __restrict__ out) {
  BY_BETA(across_forward, 5, count, channels, length, segments, plane, weight, beta, k, x, out);
}

extern "C" __global__ void across3_backward(size_t count, int channels, int length, int segments,
                                            size_t plane, T weight, T beta, T k, T factor,
                                            const T* __restrict__ dy, const T* __restrict__ x,
                                            T* __restrict__ out) {
  BY_BETA(across_backward, 3, count, channels, length, segments, plane, weight, beta, k, factor,
          dy, x, out);
}

extern "C" __global__ void across5_backward(size_t count, int channels, int length, int segments,
                                            size_t plane, T weight, T beta, T k, T factor,
                                            const T* __restrict__ dy, const T* __restrict__ x,
                                            T* __restrict__ out) {
  BY_BETA(across_backward, 5, count, channels, length, segments, plane, weight, beta, k, factor,
          dy, x, out);
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
