// Sums over the elements of each channel of blobs that are seen as (outer, size, inner).
//
// Two passes: of each column (a channel, or where `inner` is small each of its `inner` places)
// `parts` parts are summed up by blocks of threads, to `sums` (columns, parts), behind it where
// there is a second sum another such; then a thread per channel adds its parts up. The
// order depends on nothing but shapes.

#include "common.cuh"
#include "map.cuh"

// ---- what is summed up

struct Sum {
  static const int sums = 1;
  __device__ static void terms(T* made, T d) { made[0] = d; }
};

struct Dot {
  static const int sums = 1;
  __device__ static void terms(T* made, T d, T x) { made[0] = d * x; }
};

struct SumAndDot {
  static const int sums = 2;
  __device__ static void terms(T* made, T d, T x) { made[0] = d, made[1] = d * x; }
};

struct DotBelow {  // with x below 0
  static const int sums = 1;
  __device__ static void terms(T* made, T d, T x) { made[0] = d * (x > 0 ? (T)0 : x); }
};

// ---- parts

template <class Terms, int W, class... L>
__device__ inline void add_terms(T (&totals)[Terms::sums][W], const L&... x) {
#pragma unroll
  for (int lane = 0; lane < W; ++lane) {
    T made[Terms::sums];
    Terms::terms(made, x.lane[lane]...);
    for (int k = 0; k < Terms::sums; ++k) totals[k][lane] += made[k];
  }
}

// Adds the terms of elements [first, end) of a channel, which count from 0 over (outer, inner), to
// `totals`, in this thread's share. W: elements that a thread reads at once; inner, first and end
// are multiples of it.
template <class Terms, int W, bool WHOLE, class... X>
__device__ inline void add_run(size_t channel, size_t size, size_t inner, size_t first, size_t end,
                               T* totals, const X*... x) {
  T lanes[Terms::sums][W] = {};
  const size_t step = (size_t)BLOCK * W, outer_step = step / inner, inner_step = step % inner;
  const size_t start = first + (size_t)threadIdx.x * W;
  size_t outer = start / inner, rest = start % inner;
#pragma unroll 4
  for (size_t at = start; at < end; at += step) {
    const size_t place = (outer * size + channel) * inner + rest;
    add_terms<Terms>(lanes, load<W, WHOLE>(x + place)...);
    outer += outer_step;
    rest += inner_step;
    if (rest >= inner) rest -= inner, ++outer;
  }
  for (int k = 0; k < Terms::sums; ++k)
    for (int lane = 0; lane < W; ++lane) totals[k] += lanes[k][lane];
}

// A block sums up a part of a channel: `length` elements (a multiple of LANES where inner is one)
// of its `each`. count: channels and their parts.
template <class Terms, class... X>
__device__ inline void sum_runs(size_t count, size_t size, size_t inner, size_t each, size_t parts,
                                size_t length, T* sums, const X*... x) {
  EACH_ROW(row, count) {
    const size_t channel = row / parts, first = row % parts * length;
    const size_t end = first + length < each ? first + length : each;
    T totals[Terms::sums] = {};
    if (inner % LANES)
      add_run<Terms, 1, false>(channel, size, inner, first, end, totals, x...);
    else if (aligned(x...))
      add_run<Terms, LANES, true>(channel, size, inner, first, end, totals, x...);
    else  // the same elements by the same threads
      add_run<Terms, LANES, false>(channel, size, inner, first, end, totals, x...);
    for (int k = 0; k < Terms::sums; ++k) {
      const T total = block_sum(totals[k]);
      if (threadIdx.x == 0) sums[k * count + row] = total;
    }
  }
}

// A block sums up a part of 32 columns of (each, columns): `length` rows. count: of such blocks.
template <class Terms, class... X>
__device__ inline void sum_columns(size_t count, size_t columns, size_t each, size_t parts,
                                   size_t length, T* sums, const X*... x) {
  __shared__ T shared[Terms::sums][BLOCK];
  const int lane = threadIdx.x % 32;
  EACH_ROW(row, count) {
    const size_t column = row / parts * 32 + lane, part = row % parts, first = part * length;
    const size_t end = first + length < each ? first + length : each;
    T totals[Terms::sums] = {};
    if (column < columns) {
#pragma unroll 4
      for (size_t at = first + threadIdx.x / 32; at < end; at += BLOCK / 32) {
        T made[Terms::sums];
        Terms::terms(made, x[at * columns + column]...);
        for (int k = 0; k < Terms::sums; ++k) totals[k] += made[k];
      }
    }
    __syncthreads();  // what the row before left has been read
    for (int k = 0; k < Terms::sums; ++k) shared[k][threadIdx.x] = totals[k];
    __syncthreads();
    if (threadIdx.x < 32 && column < columns) {
      for (int k = 0; k < Terms::sums; ++k) {
        T total = 0;
        for (int warp = 0; warp < BLOCK / 32; ++warp) total += shared[k][warp * 32 + lane];
        sums[(k * columns + column) * parts + part] = total;
      }
    }
  }
}

// ---- kernels: dy and x are (outer, size, inner); each is outer inner

extern "C" __global__ void sum_runs(size_t count, size_t size, size_t inner, size_t each,
                                    size_t parts, size_t length, const T* dy, T* sums) {
  sum_runs<Sum>(count, size, inner, each, parts, length, sums, dy);
}

extern "C" __global__ void dot_runs(size_t count, size_t size, size_t inner, size_t each,
                                    size_t parts, size_t length, const T* dy, const T* x, T* sums) {
  sum_runs<Dot>(count, size, inner, each, parts, length, sums, dy, x);
}

extern "C" __global__ void sum_and_dot_runs(size_t count, size_t size, size_t inner, size_t each,
                                            size_t parts, size_t length, const T* dy, const T* x,
                                            T* sums) {
  sum_runs<SumAndDot>(count, size, inner, each, parts, length, sums, dy, x);
}

extern "C" __global__ void dot_below_runs(size_t count, size_t size, size_t inner, size_t each,
                                          size_t parts, size_t length, const T* dy, const T* x,
                                          T* sums) {
  sum_runs<DotBelow>(count, size, inner, each, parts, length, sums, dy, x);
}

// ---- the same of dy and x that are (each, columns)

extern "C" __global__ void sum_columns(size_t count, size_t columns, size_t each, size_t parts,
                                       size_t length, const T* dy, T* sums) {
  sum_columns<Sum>(count, columns, each, parts, length, sums, dy);
}

extern "C" __global__ void dot_columns(size_t count, size_t columns, size_t each, size_t parts,
                                       size_t length, const T* dy, const T* x, T* sums) {
  sum_columns<Dot>(count, columns, each, parts, length, sums, dy, x);
}

extern "C" __global__ void sum_and_dot_columns(size_t count, size_t columns, size_t each,
                                               size_t parts, size_t length, const T* dy, const T* x,
                                               T* sums) {
  sum_columns<SumAndDot>(count, columns, each, parts, length, sums, dy, x);
}

extern "C" __global__ void dot_below_columns(size_t count, size_t columns, size_t each,
                                             size_t parts, size_t length, const T* dy, const T* x,
                                             T* sums) {
  sum_columns<DotBelow>(count, columns, each, parts, length, sums, dy, x);
}

// ---- what blocks summed up

__device__ inline T total_of(size_t each, const T* sums) {
  T total = 0;
#pragma unroll 8
  for (size_t i = 0; i < each; ++i) total += sums[i];
  return total;
}

// sums: from `start` on (count, each)  out: (count,)
extern "C" __global__ void totals(size_t count, size_t start, size_t each, const T* sums, T* out) {
  EACH(i, count) out[i] = total_of(each, sums + start + i * each);
}

// The same, added to add_out.
extern "C" __global__ void add_totals(size_t count, size_t start, size_t each, const T* sums,
                                      T* add_out) {
  EACH(i, count) add_out[i] += total_of(each, sums + start + i * each);
}
