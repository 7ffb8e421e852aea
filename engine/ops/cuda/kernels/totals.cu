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

// Adds the terms at the next `steps` places of a walk to `totals`, W elements at each.
template <class Terms, int W, bool WHOLE, class Walk, class... X>
__device__ inline void add_walk(size_t steps, Walk walk, T (&totals)[Terms::sums],
                                const X*... x) {
  T lanes[Terms::sums][W] = {};
#pragma unroll 1
  for (; steps >= 4; steps -= 4) {  // whose loads wait for memory together
    size_t places[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) places[i] = walk.next();
#pragma unroll
    for (int i = 0; i < 4; ++i) add_terms<Terms>(lanes, load<W, WHOLE>(x + places[i])...);
  }
#pragma unroll 1
  for (; steps; --steps) {
    const size_t place = walk.next();
    add_terms<Terms>(lanes, load<W, WHOLE>(x + place)...);
  }
  for (int k = 0; k < Terms::sums; ++k)
    for (int lane = 0; lane < W; ++lane) totals[k] += lanes[k][lane];
}

// How many of start, start + step, ... are less than end.
__device__ inline size_t steps_to(size_t end, size_t start, size_t step) {
  return start < end ? (end - start + step - 1) / step : 0;
}

// Places in (outer, size, inner), of elements of a channel that count from 0 over (outer, inner).
struct RunWalk {
  size_t channel, size, inner, outer_step, inner_step, outer, rest;

  __device__ RunWalk(size_t channel, size_t size, size_t inner, size_t start, size_t step)
      : channel(channel), size(size), inner(inner) {
    outer_step = step / inner, inner_step = step - outer_step * inner;
    outer = start / inner, rest = start - outer * inner;
  }
  __device__ size_t next() {
    const size_t place = (outer * size + channel) * inner + rest;
    outer += outer_step;
    rest += inner_step;
    if (rest >= inner) rest -= inner, ++outer;
    return place;
  }
};

// Places in a column, some rows apart.
struct ColumnWalk {
  size_t at, step;

  __device__ size_t next() {
    const size_t place = at;
    at += step;
    return place;
  }
};

// This thread's share of elements [first, end) of a channel; inner, first and end are multiples of
// W.
template <class Terms, int W, bool WHOLE, class... X>
__device__ inline void add_run(size_t channel, size_t size, size_t inner, size_t first, size_t end,
                               T (&totals)[Terms::sums], const X*... x) {
  const size_t start = first + (size_t)threadIdx.x * W, step = (size_t)BLOCK * W;
  const RunWalk walk(channel, size, inner, start, step);
  add_walk<Terms, W, WHOLE>(steps_to(end, start, step), walk, totals, x...);
}

// A block sums up a part of a channel: `length` elements (a multiple of LANES) of its `each`.
// count: channels and their parts.
template <class Terms, class... X>
__device__ inline void sum_runs(size_t count, size_t size, size_t inner, size_t each, size_t parts,
                                size_t length, T* sums, const X*... x) {
  EACH_ROW(row, count) {
    const size_t channel = row / parts, first = (row - channel * parts) * length;
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
  const int lane = threadIdx.x % 32, step = BLOCK / 32;
  EACH_ROW(row, count) {
    const size_t group = row / parts, part = row - group * parts, column = group * 32 + lane;
    const size_t start = part * length + threadIdx.x / 32;
    const size_t end = (part + 1) * length < each ? (part + 1) * length : each;
    T totals[Terms::sums] = {};
    if (column < columns) {
      const ColumnWalk walk{start * columns + column, step * columns};
      add_walk<Terms, 1, false>(steps_to(end, start, step), walk, totals, x...);
    }
    __syncthreads();  // what the row before left has been read
    for (int k = 0; k < Terms::sums; ++k) shared[k][threadIdx.x] = totals[k];
    __syncthreads();
    if (threadIdx.x < 32 && column < columns) {
      for (int k = 0; k < Terms::sums; ++k) {
        T total = 0;
        for (int warp = 0; warp < step; ++warp) total += shared[k][warp * 32 + lane];
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
