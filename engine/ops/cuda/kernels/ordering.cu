// The largest elements along the middle axis of (outer, size, inner), largest first: nan before
// numbers, and of equal ones that with the higher place. A position is one of (outer, inner).
// out: (outer, what is wanted, top_k, inner): places, values, or both.

#include "common.cuh"

// An element; place -1: none.
struct Element {
  T value;
  long long place;
};

// Whether one comes before the other.
__device__ inline bool before(Element one, Element other) {
  if (one.place < 0 || other.place < 0) return other.place < 0 && one.place >= 0;
  const bool one_nan = one.value != one.value, other_nan = other.value != other.value;
  if (one_nan != other_nan) return one_nan;
  if (!one_nan && one.value != other.value) return one.value > other.value;
  return one.place > other.place;
}

// The first of every step-th element of x that comes after `last`.
__device__ inline Element next_after(Element last, const T* x, size_t size, size_t inner,
                                     size_t begin, size_t step) {
  Element best = {0, -1};
  for (size_t i = begin; i < size; i += step) {
    const Element one = {x[i * inner], (long long)i};
    if (before(one, best) && (last.place < 0 || before(last, one))) best = one;
  }
  return best;
}

__device__ inline Element block_first(Element one) {
  __shared__ T values[32];
  __shared__ long long places[32];
  for (int offset = 16; offset; offset /= 2) {
    const Element other = {__shfl_xor_sync(~0u, one.value, offset),
                           __shfl_xor_sync(~0u, one.place, offset)};
    if (before(other, one)) one = other;
  }
  __syncthreads();  // those of an earlier call have been read
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = one.value;
    places[threadIdx.x / 32] = one.place;
  }
  __syncthreads();
  one = {values[0], places[0]};
  for (int warp = 1; warp < BLOCK / 32; ++warp) {
    const Element other = {values[warp], places[warp]};
    if (before(other, one)) one = other;
  }
  return one;
}

// index: among the top_k.
__device__ inline void put(Element one, size_t position, size_t index, size_t inner, size_t top_k,
                           bool places, bool values, T* out) {
  const size_t wanted = (size_t)places + (size_t)values;
  T* into = out + (position / inner * wanted * top_k + index) * inner + position % inner;
  if (places) *into = (T)one.place;
  if (values) into[places ? top_k * inner : 0] = one.value;
}

// For many positions: a thread for each.
extern "C" __global__ void argmax_positions(size_t count, size_t size, size_t inner, size_t top_k,
                                  bool places, bool values, const T* x, T* out) {
  EACH(position, count) {
    const T* from = x + position / inner * size * inner + position % inner;
    Element one = {0, -1};
    for (size_t index = 0; index < top_k; ++index) {
      one = next_after(one, from, size, inner, 0, 1);
      put(one, position, index, inner, top_k, places, values, out);
    }
  }
}

// For few positions: a block for each.
extern "C" __global__ void argmax_rows(size_t count, size_t size, size_t inner, size_t top_k,
                                       bool places, bool values, const T* x, T* out) {
  EACH_ROW(position, count) {
    const T* from = x + position / inner * size * inner + position % inner;
    Element one = {0, -1};
    for (size_t index = 0; index < top_k; ++index) {
      one = block_first(next_after(one, from, size, inner, threadIdx.x, BLOCK));
      if (threadIdx.x == 0) put(one, position, index, inner, top_k, places, values, out);
    }
  }
}
