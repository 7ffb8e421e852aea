// The loss of a net, from values that hold parts of it.

#include "common.cuh"

// weight times the sum of x (size,). A block must call it as a whole.
__device__ inline T weighted(size_t size, T weight, const T* x) {
  T total = 0;
  for (size_t i = threadIdx.x; i < size; i += BLOCK) total += x[i];
  return weight * block_sum(total);
}

// out: a scalar.  count: 1
extern "C" __global__ void first_loss(size_t count, size_t size, T weight, const T* x, T* out) {
  const T loss = weighted(size, weight, x);
  if (blockIdx.x == 0 && threadIdx.x == 0) *out = loss;
}

// The same, added to add_out.
extern "C" __global__ void next_loss(size_t count, size_t size, T weight, const T* x, T* add_out) {
  const T loss = weighted(size, weight, x);
  if (blockIdx.x == 0 && threadIdx.x == 0) *add_out += loss;
}
