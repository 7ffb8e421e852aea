// What kernels share. BLOCK is the number of threads of a block, a multiple of 32; T the type of
// elements, float or double.

typedef unsigned long long u64;

// A loop over all elements, whatever the grid.
#define EACH(i, count)                                                                             \
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (size_t)(count);              \
       i += (size_t)gridDim.x * blockDim.x)

// A loop over the rows of a kernel that is launched by rows: the block's threads share each one.
#define EACH_ROW(row, count)                                                                       \
  for (size_t row = blockIdx.x; row < (size_t)(count); row += gridDim.x)

// The sum of a number of every thread in the block, for all of them; always in the same order. All
// threads must call it.
__device__ inline T block_sum(T value) {
  __shared__ T parts[32];
  for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  __syncthreads();  // the parts of an earlier call have been read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = 0;
  for (int warp = 0; warp < BLOCK / 32; ++warp) sum += parts[warp];
  return sum;
}

// The greatest number of all threads in the block; nan where one of them is nan.
__device__ inline T block_max(T value) {
  __shared__ T parts[32];
  for (int offset = 16; offset; offset /= 2) {
    const T other = __shfl_xor_sync(~0u, value, offset);
    value = (other > value || other != other) ? other : value;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  T most = parts[0];
  for (int warp = 1; warp < BLOCK / 32; ++warp)
    most = (parts[warp] > most || parts[warp] != parts[warp]) ? parts[warp] : most;
  return most;
}

// Tells the host of an element that cannot be used. number: of who refuses it (Watch.add). The
// first report stays.
__device__ inline void report(u64* watch, u64 number, u64 place, T element) {
  if (atomicCAS(watch, 0ull, number) == 0) {
    watch[1] = place;
    watch[2] = __double_as_longlong((double)element);
  }
}
