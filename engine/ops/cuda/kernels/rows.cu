// Rows taken from x (rows, size) by numbers, and added to it. places: one number for each row of
// out or dy, which are (places, size); ignores, ignore, number and add_watch are for class_of of
// labels.cuh: a place that is no row counts for nothing, and the watch is told.

#include "common.cuh"
#include "division.cuh"
#include "labels.cuh"

// x[places]
extern "C" __global__ void take_rows(size_t count, size_t size, size_t rows, const T* places,
                                     bool ignores, int ignore, unsigned long long number,
                                     unsigned long long* add_watch, const T* x, T* out) {
  EACH(i, count) {
    const Division at = divide(i, size);
    const long long row = class_of(places, at.quotient, rows, ignores, ignore, number, add_watch);
    out[i] = row < 0 ? (T)0 : x[row * size + at.rest];
  }
}

// x[places] + b, b: (size,)
extern "C" __global__ void take_rows_and_add(size_t count, size_t size, size_t rows,
                                             const T* places, bool ignores, int ignore,
                                             unsigned long long number,
                                             unsigned long long* add_watch, const T* x, const T* b,
                                             T* out) {
  EACH(i, count) {
    const Division at = divide(i, size);
    const long long row = class_of(places, at.quotient, rows, ignores, ignore, number, add_watch);
    out[i] = (row < 0 ? (T)0 : x[row * size + at.rest]) + b[at.rest];
  }
}

// add_x[places[i]] += dy[i], in an order that is not determined.
extern "C" __global__ void add_rows(size_t count, size_t size, size_t rows, const T* places,
                                    bool ignores, int ignore, unsigned long long number,
                                    unsigned long long* add_watch, const T* dy, T* add_x) {
  EACH(i, count) {
    const Division at = divide(i, size);
    const long long row = class_of(places, at.quotient, rows, ignores, ignore, number, add_watch);
    if (row >= 0) atomicAdd(add_x + row * size + at.rest, dy[i]);
  }
}

// The same in the order of the places, by rows, one for each of x: a block looks for its places.
extern "C" __global__ void add_rows_in_order(size_t count, size_t size, size_t places_count,
                                             const T* places, bool ignores, int ignore,
                                             unsigned long long number,
                                             unsigned long long* add_watch, const T* dy, T* add_x) {
  __shared__ unsigned found[32];  // bits, of BLOCK places
  EACH_ROW(row, count) {
    for (size_t first = 0; first < places_count; first += BLOCK) {
      const size_t place = first + threadIdx.x;
      const bool here =
          place < places_count &&
          class_of(places, place, count, ignores, ignore, number, add_watch) == (long long)row;
      const unsigned bits = __ballot_sync(~0u, here);
      __syncthreads();  // those found before have been used
      if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = bits;
      __syncthreads();
      unsigned any = 0;
      for (int warp = 0; warp < BLOCK / 32; ++warp) any |= found[warp];
      if (!any) continue;
      for (size_t column = threadIdx.x; column < size; column += BLOCK) {
        T sum = 0;
        for (int warp = 0; warp < BLOCK / 32; ++warp)
          for (unsigned left = found[warp]; left; left &= left - 1)
            sum += dy[(first + warp * 32 + __ffs((int)left) - 1) * size + column];
        add_x[row * size + column] += sum;
      }
    }
  }
}
