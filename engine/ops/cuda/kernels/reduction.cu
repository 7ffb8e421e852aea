// Sums over the middle axis of (outer, size, inner). Each sum is made of `parts` where few are
// wanted of many elements: the same kernels then add up the parts. The order does not depend on the
// grid.

#include "common.cuh"
#include "division.cuh"

// What is summed up.
#define ABSOLUTE 1
#define SQUARE 2

__device__ inline T term(T x, unsigned kind) {
  if (kind == ABSOLUTE) return fabs(x);
  return kind == SQUARE ? x * x : x;
}

// By rows, one for each of (outer, parts); inner is 1.  x: (outer, size).  out: (outer, parts),
// coeff times the sums.
extern "C" __global__ void sum_rows(size_t count, size_t parts, size_t size, unsigned kind, T coeff,
                                    const T* x, T* out) {
  EACH_ROW(row, count) {
    const Division of = divide(row, parts);
    const size_t end = (of.rest + 1) * size / parts;
    const T* from = x + of.quotient * size;
    T sum = 0;
#pragma unroll 4
    for (size_t i = of.rest * size / parts + threadIdx.x; i < end; i += BLOCK)
      sum += term(from[i], kind);
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = sum * coeff;
  }
}

// A thread for each of (outer, parts, inner).  x: (outer, size, inner).  out: (outer, parts,
// inner), coeff times the sums.
extern "C" __global__ void sum_columns(size_t count, size_t parts, size_t size, size_t inner,
                                       unsigned kind, T coeff, const T* x, T* out) {
  EACH(i, count) {
    const Division place = divide(i, inner), of = divide(place.quotient, parts);
    const size_t first = divide(of.rest * size, parts).quotient;
    const size_t end = divide((of.rest + 1) * size, parts).quotient;
    const T* from = x + of.quotient * size * inner + place.rest;
    T sum = 0;
#pragma unroll 4
    for (size_t j = first; j < end; ++j) sum += term(from[j * inner], kind);
    out[i] = sum * coeff;
  }
}

// The gradient of x (outer, size): coeff dy (outer,) times that of the term.
extern "C" __global__ void reduction_backward(size_t count, size_t size, unsigned kind, T coeff,
                                              const T* dy, const T* x, T* out) {
  EACH(i, count) {
    const T slope = dy[divide(i, size).quotient] * coeff;
    if (kind == ABSOLUTE)
      out[i] = (x[i] > 0 ? (T)1 : x[i] < 0 ? (T)-1 : x[i]) * slope;
    else
      out[i] = kind == SQUARE ? x[i] * (2 * slope) : slope;
  }
}
