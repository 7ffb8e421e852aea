// Sums over the elements of each channel of blobs that are seen as (outer, size, inner).
//
// Two passes: of each column (a channel, or where `inner` is small each of its `inner` places)
// `parts` parts are summed up by blocks of threads, to `sums` (columns, parts), behind it where
// there is a second sum another such; then a thread per channel adds its parts up. The
// order depends on nothing but shapes.

#include "common.cuh"
#include "affine.cuh"
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

// A gradient on its way through a ReLU: out, which may be dy, becomes that of what it read. y: its
// results.
struct ThroughRelu {
  T slope;
  const T *dy, *y;
  T* out;
};

// The same for what comes out of a ReLU, which is also written.
template <int W, bool WHOLE>
__device__ inline void rectify(size_t place, const ThroughRelu& relu, const Lanes<W>& dy,
                               const Lanes<W>& y, T (&totals)[W]) {
  T made[W];
  for (int lane = 0; lane < W; ++lane) {
    made[lane] = rectified_gradient(dy.lane[lane], y.lane[lane], relu.slope);
    totals[lane] += made[lane];
  }
  if (WHOLE) {
    Vector vector;
    for (int lane = 0; lane < LANES; ++lane) vector.lane[lane] = made[lane];
    *(Vector*)(relu.out + place) = vector;
  } else {
    for (int lane = 0; lane < W; ++lane) relu.out[place + lane] = made[lane];
  }
}

template <int W, bool WHOLE, class Walk>
__device__ inline void rectify_walk(size_t steps, Walk walk, const ThroughRelu& relu, T& total) {
  T lanes[W] = {};
#pragma unroll 1
  for (; steps >= 4; steps -= 4) {
    size_t places[4];
    Lanes<W> dy[4], y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      places[i] = walk.next();
      dy[i] = load<W, WHOLE>(relu.dy + places[i]);
      y[i] = load<W, WHOLE>(relu.y + places[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) rectify<W, WHOLE>(places[i], relu, dy[i], y[i], lanes);
  }
#pragma unroll 1
  for (; steps; --steps) {
    const size_t place = walk.next();
    const Lanes<W> dy = load<W, WHOLE>(relu.dy + place), y = load<W, WHOLE>(relu.y + place);
    rectify<W, WHOLE>(place, relu, dy, y, lanes);
  }
  for (int lane = 0; lane < W; ++lane) total += lanes[lane];
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

// The same for sum_runs of what comes out of a ReLU.
template <int W, bool WHOLE>
__device__ inline T rectify_run(size_t channel, size_t size, size_t inner, size_t first, size_t end,
                                const ThroughRelu& relu) {
  const size_t start = first + (size_t)threadIdx.x * W, step = (size_t)BLOCK * W;
  T total = 0;
  const RunWalk walk(channel, size, inner, start, step);
  rectify_walk<W, WHOLE>(steps_to(end, start, step), walk, relu, total);
  return total;
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

// sum_runs of out, which dy becomes on its way through a ReLU.
extern "C" __global__ void rectified_sum_runs(size_t count, size_t size, size_t inner, size_t each,
                                              size_t parts, size_t length, T slope, const T* dy,
                                              const T* y, T* out, T* sums) {
  const ThroughRelu relu = {slope, dy, y, out};
  EACH_ROW(row, count) {
    const size_t channel = row / parts, first = (row - channel * parts) * length;
    const size_t end = first + length < each ? first + length : each;
    T part;
    if (inner % LANES)
      part = rectify_run<1, false>(channel, size, inner, first, end, relu);
    else if (aligned(dy, y, out))
      part = rectify_run<LANES, true>(channel, size, inner, first, end, relu);
    else
      part = rectify_run<LANES, false>(channel, size, inner, first, end, relu);
    const T total = block_sum(part);
    if (threadIdx.x == 0) sums[row] = total;
  }
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

// sum_columns of out, which dy becomes on its way through a ReLU.
extern "C" __global__ void rectified_sum_columns(size_t count, size_t columns, size_t each,
                                                 size_t parts, size_t length, T slope, const T* dy,
                                                 const T* y, T* out, T* sums) {
  __shared__ T shared[BLOCK];
  const ThroughRelu relu = {slope, dy, y, out};
  const int lane = threadIdx.x % 32, step = BLOCK / 32;
  EACH_ROW(row, count) {
    const size_t group = row / parts, part = row - group * parts, column = group * 32 + lane;
    const size_t start = part * length + threadIdx.x / 32;
    const size_t end = (part + 1) * length < each ? (part + 1) * length : each;
    T total = 0;
    if (column < columns) {
      const ColumnWalk walk{start * columns + column, step * columns};
      rectify_walk<1, false>(steps_to(end, start, step), walk, relu, total);
    }
    __syncthreads();  // what the row before left has been read
    shared[threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.x < 32 && column < columns) {
      T all = 0;
      for (int warp = 0; warp < step; ++warp) all += shared[warp * 32 + lane];
      sums[column * parts + part] = all;
    }
  }
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
