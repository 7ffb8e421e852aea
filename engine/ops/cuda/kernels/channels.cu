// One number for each channel of a blob that is seen as (outer, size, inner): x, dy and out have
// `count` = outer size inner elements, a, b and s `size`. out may be x or dy.

#include "common.cuh"
#include "map.cuh"

// x + b
extern "C" __global__ void bias_forward(size_t count, size_t size, size_t inner, const T* x,
                                        const T* b, T* out) {
  map_channels(count, size, inner, [=](size_t c, T at) { return at + b[c]; }, out, x);
}

// x s
extern "C" __global__ void scale_forward(size_t count, size_t size, size_t inner, const T* x,
                                         const T* s, T* out) {
  map_channels(count, size, inner, [=](size_t c, T at) { return at * s[c]; }, out, x);
}

// x s + b
extern "C" __global__ void scale_bias_forward(size_t count, size_t size, size_t inner, const T* x,
                                              const T* s, const T* b, T* out) {
  map_channels(count, size, inner, [=](size_t c, T at) { return at * s[c] + b[c]; }, out, x);
}

// max(x, 0) + a min(x, 0); nan stays nan.
extern "C" __global__ void prelu_forward(size_t count, size_t size, size_t inner, const T* x,
                                         const T* a, T* out) {
  map_channels(
      count, size, inner,
      [=](size_t c, T at) { return (at > 0 ? at : (T)0) + a[c] * (at > 0 ? (T)0 : at); }, out, x);
}

// dy where x > 0, else a dy
extern "C" __global__ void prelu_backward(size_t count, size_t size, size_t inner, const T* dy,
                                          const T* x, const T* a, T* out) {
  map_channels(
      count, size, inner,
      [=](size_t c, T d, T at) { return d * ((T)(at > 0) + a[c] * (T)!(at > 0)); }, out, dy, x);
}
