// One number for each channel of a blob that is seen as (outer, size, inner): x, dy, out and kept
// have `count` = outer size inner elements, a, b and s `size`. out may be x or dy. kept: becomes x,
// where out is x and backward needs it. slope: of the ReLU behind; 1 where there is none.

#include "common.cuh"
#include "affine.cuh"
#include "map.cuh"

// x + b
extern "C" __global__ void bias_forward(size_t count, size_t size, size_t inner, T slope,
                                        const T* x, const T* b, T* out) {
  map_channels(
      count, size, inner, [=](size_t c, T at) { return rectified(at + b[c], slope); }, out, x);
}

// x s
extern "C" __global__ void scale_forward(size_t count, size_t size, size_t inner, T slope,
                                         const T* x, const T* s, T* out) {
  map_channels(
      count, size, inner, [=](size_t c, T at) { return rectified(at * s[c], slope); }, out, x);
}

extern "C" __global__ void scale_forward_kept(size_t count, size_t size, size_t inner, T slope,
                                              const T* x, const T* s, T* out, T* kept) {
  map_channels_kept(
      count, size, inner, [=](size_t c, T at) { return rectified(at * s[c], slope); }, out, kept,
      x);
}

// x s + b
extern "C" __global__ void scale_bias_forward(size_t count, size_t size, size_t inner, T slope,
                                              const T* x, const T* s, const T* b, T* out) {
  map_channels(
      count, size, inner,
      [=](size_t c, T at) { return rectified(scaled(at, s[c], b[c]), slope); }, out, x);
}

extern "C" __global__ void scale_bias_forward_kept(size_t count, size_t size, size_t inner, T slope,
                                                   const T* x, const T* s, const T* b, T* out,
                                                   T* kept) {
  map_channels_kept(
      count, size, inner,
      [=](size_t c, T at) { return rectified(scaled(at, s[c], b[c]), slope); }, out, kept, x);
}

// max(x, 0) + a min(x, 0); nan stays nan.
__device__ inline T leak(T x, T a) { return (x > 0 ? x : (T)0) + a * (x > 0 ? (T)0 : x); }

extern "C" __global__ void prelu_forward(size_t count, size_t size, size_t inner, const T* x,
                                         const T* a, T* out) {
  map_channels(count, size, inner, [=](size_t c, T at) { return leak(at, a[c]); }, out, x);
}

extern "C" __global__ void prelu_forward_kept(size_t count, size_t size, size_t inner, const T* x,
                                              const T* a, T* out, T* kept) {
  map_channels_kept(
      count, size, inner, [=](size_t c, T at) { return leak(at, a[c]); }, out, kept, x);
}

// dy where x > 0, else a dy
extern "C" __global__ void prelu_backward(size_t count, size_t size, size_t inner, const T* dy,
                                          const T* x, const T* a, T* out) {
  map_channels(
      count, size, inner,
      [=](size_t c, T d, T at) { return d * ((T)(at > 0) + a[c] * (T)!(at > 0)); }, out, dy, x);
}
