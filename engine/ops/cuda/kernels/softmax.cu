// Softmax along one axis. x, y, out, dy: (outer, size, inner), of which a position is one of outer
// * inner; out may be x or dy. Kernels are there twice: a thread takes a position, or a block of
// them.

#include "common.cuh"
#include "positions.cuh"

// The greater one of two numbers; nan where one is nan.
__device__ inline T greater(T most, T element) {
  return element > most || element != element ? element : most;
}

// out = exp(x) / sum(exp(x)); the largest x is taken off first.
extern "C" __global__ void softmax_positions(size_t positions, size_t size, size_t inner,
                                             const T* x, T* out) {
  EACH(position, positions) {
    const size_t start = start_of(position, size, inner);
    T most = x[start];
    for (size_t k = 1; k < size; ++k) most = greater(most, x[start + k * inner]);
    T sum = 0;
    for (size_t k = 0; k < size; ++k) sum += exp(x[start + k * inner] - most);
    for (size_t k = 0; k < size; ++k) {
      const size_t i = start + k * inner;
      out[i] = exp(x[i] - most) / sum;
    }
  }
}

// As softmax_positions, a block per position.
extern "C" __global__ void softmax_rows(size_t positions, size_t size, size_t inner, const T* x,
                                        T* out) {
  EACH_ROW(position, positions) {
    const size_t start = start_of(position, size, inner);
    T most = x[start];
    for (size_t k = threadIdx.x; k < size; k += BLOCK) most = greater(most, x[start + k * inner]);
    most = block_max(most);
    T sum = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK) sum += exp(x[start + k * inner] - most);
    sum = block_sum(sum);
    for (size_t k = threadIdx.x; k < size; k += BLOCK) {
      const size_t i = start + k * inner;
      out[i] = exp(x[i] - most) / sum;
    }
  }
}

// out = (dy - sum(dy y)) y
extern "C" __global__ void softmax_backward_positions(size_t positions, size_t size, size_t inner,
                                                      const T* dy, const T* y, T* out) {
  EACH(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = 0; k < size; ++k) sum += dy[start + k * inner] * y[start + k * inner];
    for (size_t k = 0; k < size; ++k) {
      const size_t i = start + k * inner;
      out[i] = (dy[i] - sum) * y[i];
    }
  }
}

// As softmax_backward_positions, a block per position.
extern "C" __global__ void softmax_backward_rows(size_t positions, size_t size, size_t inner,
                                                 const T* dy, const T* y, T* out) {
  EACH_ROW(position, positions) {
    const size_t start = start_of(position, size, inner);
    T sum = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK) {
      const size_t i = start + k * inner;
      sum += dy[i] * y[i];
    }
    sum = block_sum(sum);
    for (size_t k = threadIdx.x; k < size; k += BLOCK) {
      const size_t i = start + k * inner;
      out[i] = (dy[i] - sum) * y[i];
    }
  }
}
