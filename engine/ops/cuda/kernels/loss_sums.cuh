// Sums over many elements. A block of threads adds up a part of them, by parts that depend on their
// count only; then a block adds up the parts.

#define SMALLEST ((T)1.17549435e-38f)  // Caffe's FLT_MIN: keeps the logarithm of 0 finite

// A loop over the elements of one part, side by side for the threads of its block.
#define EACH_OF_PART(i, part, parts, count)                                                        \
  for (size_t i = (size_t)(part) * BLOCK + threadIdx.x; i < (size_t)(count);                       \
       i += (size_t)(parts) * BLOCK)

// What a loss is divided by: `divisor`, or, where that is 0, the count in valid[0], if not below 1.
__device__ inline T divisor_of(T divisor, const T* valid) {
  if (divisor != 0) return divisor;
  return valid[0] > 1 ? valid[0] : (T)1;
}

// Writes the sum of a part, divided. All threads of the block must call it.
__device__ inline void give_sum(T sum, size_t part, T divisor, const T* valid, T* out) {
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[part] = sum / divisor_of(divisor, valid);
}

// max(x, least); nan stays nan.
__device__ inline T at_least(T x, T least) { return x < least ? least : x; }
