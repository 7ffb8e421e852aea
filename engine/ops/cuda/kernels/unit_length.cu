// Vectors divided by their length. x, y, out, dy: (outer, size, inner), of which a position is one
// of outer * inner; out may be dy. length: (outer, inner), the root of the sum of the
// squares and eps; `absolute`: the sum of the absolute values, and eps. Kernels are there twice: a
// thread takes a position, or a block of them.

#include "common.cuh"
#include "positions.cuh"

__device__ inline T term(T x, bool absolute) { return absolute ? fabs(x) : x * x; }

__device__ inline T length_of(T sum, T eps, bool absolute) {
  return absolute ? sum + eps : sqrt(sum + eps);
}

// The gradient of an element. dot: sum(dy y) / length - d_length.
__device__ inline T gradient(T dy, T y, T length, T dot, bool absolute) {
  const T slope = !absolute ? y : y > 0 ? (T)1 : y < 0 ? (T)-1 : y;
  return dy / length - slope * dot;
}

// out = x / length
extern "C" __global__ void unit_length_positions(size_t positions, size_t size, size_t inner,
                                                 bool absolute, T eps, const T* x, T* out,
                                                 T* length) {
  EACH(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = 0; k < size; ++k) sum += term(x[start + k * inner], absolute);
    const T root = length_of(sum, eps, absolute);
    for (size_t k = 0; k < size; ++k) out[start + k * inner] = x[start + k * inner] / root;
    length[position] = root;
  }
}

// As unit_length_positions, a block per position.
extern "C" __global__ void unit_length_rows(size_t positions, size_t size, size_t inner,
                                            bool absolute, T eps, const T* x, T* out, T* length) {
  EACH_ROW(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK) sum += term(x[start + k * inner], absolute);
    const T root = length_of(block_sum(sum), eps, absolute);
    for (size_t k = threadIdx.x; k < size; k += BLOCK)
      out[start + k * inner] = x[start + k * inner] / root;
    if (threadIdx.x == 0) length[position] = root;
  }
}

// The gradient of x. d_length: (outer, inner), that of the lengths, if `given`.
extern "C" __global__ void unit_length_backward_positions(size_t positions, size_t size,
                                                          size_t inner, bool absolute, const T* dy,
                                                          const T* y, const T* length, bool given,
                                                          const T* d_length, T* out) {
  EACH(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = 0; k < size; ++k) sum += dy[start + k * inner] * y[start + k * inner];
    const T root = length[position], dot = sum / root - (given ? d_length[position] : (T)0);
    for (size_t k = 0; k < size; ++k) {
      const size_t i = start + k * inner;
      out[i] = gradient(dy[i], y[i], root, dot, absolute);
    }
  }
}

// As unit_length_backward_positions, a block per position.
extern "C" __global__ void unit_length_backward_rows(size_t positions, size_t size, size_t inner,
                                                     bool absolute, const T* dy, const T* y,
                                                     const T* length, bool given,
                                                     const T* d_length, T* out) {
  EACH_ROW(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK)
      sum += dy[start + k * inner] * y[start + k * inner];
    sum = block_sum(sum);
    const T root = length[position], dot = sum / root - (given ? d_length[position] : (T)0);
    for (size_t k = threadIdx.x; k < size; k += BLOCK) {
      const size_t i = start + k * inner;
      out[i] = gradient(dy[i], y[i], root, dot, absolute);
    }
  }
}
