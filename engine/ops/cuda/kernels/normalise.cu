// Normalisation of channels by their mean and variance. x and dy are seen as (outer, channels,
// inner), a channel has outer * inner elements; mean, inverse, along_ones and along_normal have
// `channels` elements. Sums are made of `parts` of each channel, which a second kernel puts
// together, so that few channels keep the whole device busy; the order does not depend on the grid.

#include "common.cuh"
#include "division.cuh"
#include "map.cuh"
#include "walk.cuh"

// Of some numbers. spread: the sum of their squared distances from the mean.
struct Moments {
  T count, mean, spread;
};

// Of the numbers of both. Infinite means stay what they are.
__device__ inline Moments together(Moments a, Moments b) {
  if (b.count == 0) return a;
  if (a.count == 0) return b;
  const T count = a.count + b.count, share = b.count / count;
  const T apart = a.mean == b.mean ? (T)0 : b.mean - a.mean;
  return {count, a.mean + apart * share,
          a.spread + b.spread + apart * apart * (a.count * share)};
}

// Of the numbers of all threads in the block. All threads must call it.
__device__ inline Moments block_moments(Moments of) {
  __shared__ T parts[32][3];
  for (int offset = 16; offset; offset /= 2) {
    const Moments other = {__shfl_down_sync(~0u, of.count, offset),
                           __shfl_down_sync(~0u, of.mean, offset),
                           __shfl_down_sync(~0u, of.spread, offset)};
    of = together(of, other);
  }
  __syncthreads();  // the parts of an earlier call have been read
  if (threadIdx.x % 32 == 0) {
    T* part = parts[threadIdx.x / 32];
    part[0] = of.count, part[1] = of.mean, part[2] = of.spread;
  }
  __syncthreads();
  Moments all = {0, 0, 0};
  for (int warp = 0; warp < BLOCK / 32; ++warp)
    all = together(all, {parts[warp][0], parts[warp][1], parts[warp][2]});
  return all;
}

// What is taken off all elements of a channel before anything else, so that a mean much larger than
// the deviation does not cost digits: the first of them, if it is finite.
__device__ inline T origin_of(const T* x, size_t channel, size_t inner) {
  const T first = x[channel * inner];
  return first - first == 0 ? first : (T)0;
}

// Gathers the moments of numbers less `origin` from their distances to one of them. That is as
// exact as taking the mean off first, even where the origin lies far from all others.
struct Gather {
  T origin, shift, sum, squares, count;

  // one: of the numbers.  count: of all.
  __device__ Gather(T origin, T one, T count)
      : origin(origin), shift(one - one == 0 ? one - origin : (T)0), sum(0), squares(0),
        count(count) {}
  __device__ void add(T number) {
    const T apart = number - origin - shift;
    sum += apart;
    squares += apart * apart;
  }
  __device__ Moments moments() const {
    const T mean = sum / count, spread = squares - sum * mean;
    return {count, shift + mean, spread < 0 ? (T)0 : spread};
  }
};

// A thread's share of a part.
template <bool WHOLE, int W>
__device__ inline Moments moments_in(Walk<W> walk, T origin, const T* x) {
  const size_t count = walk.left();
  if (count == 0) return {0, 0, 0};
  Gather gather(origin, x[walk.element()], (T)count);
#pragma unroll 4
  for (; walk.at < walk.end; walk.next()) {
    const Lanes<W> read = load<W, WHOLE>(x + walk.element());
    for (int lane = 0; lane < W; ++lane) gather.add(read.lane[lane]);
  }
  return gather.moments();
}

// By rows, one for each of (channels, parts).  partial: (channels, parts, 3), moments of x less the
// origin.
extern "C" __global__ void moments_of_rows(size_t count, size_t parts, size_t outer,
                                           size_t channels, size_t inner, const T* x, T* partial) {
  EACH_ROW(row, count) {
    const T origin = origin_of(x, row / parts, inner);
    Moments of;
    if (inner % LANES) {
      of = moments_in<false>(Walk<1>(row, parts, outer, channels, inner), origin, x);
    } else {
      const Walk<LANES> walk(row, parts, outer, channels, inner);
      of = aligned(x) ? moments_in<true>(walk, origin, x) : moments_in<false>(walk, origin, x);
    }
    const Moments all = block_moments(of);
    if (threadIdx.x == 0) {
      T* part = partial + 3 * row;
      part[0] = all.count, part[1] = all.mean, part[2] = all.spread;
    }
  }
}

// The same where inner is small: neighbouring threads take neighbouring columns of (outer,
// channels * inner). count: parts * channels * inner; no more parts than samples.  partial:
// (channels, parts, inner, 3).
extern "C" __global__ void moments_of_columns(size_t count, size_t parts, size_t outer,
                                              size_t channels, size_t inner, const T* x,
                                              T* partial) {
  const size_t columns = channels * inner;
  EACH(i, count) {
    const Division of = divide(i, columns);
    const size_t part = of.quotient, column = of.rest;
    const size_t begin = part * outer / parts, end = (part + 1) * outer / parts;
    const T origin = origin_of(x, column / inner, inner);
    Gather gather(origin, x[begin * columns + column], (T)(end - begin));
#pragma unroll 4
    for (size_t sample = begin; sample < end; ++sample) gather.add(x[sample * columns + column]);
    const Moments all = gather.moments();
    T* into = partial + 3 * ((column / inner * parts + part) * inner + column % inner);
    into[0] = all.count, into[1] = all.mean, into[2] = all.spread;
  }
}

// Of a channel, from those of its parts. All threads of the block must call it.
__device__ inline Moments channel_moments(const T* partial, size_t channel, size_t parts) {
  Moments all = {0, 0, 0};
  for (size_t part = threadIdx.x; part < parts; part += BLOCK) {
    const T* of = partial + 3 * (channel * parts + part);
    all = together(all, {of[0], of[1], of[2]});
  }
  return block_moments(all);
}

// What is left of a sum of statistics that fades by `fraction`: nothing, nor nan, where that is 0.
__device__ inline T faded(T sum, T fraction) { return fraction == 0 ? (T)0 : sum * fraction; }

// By rows, one for each channel. number: the elements of one.  partial: (channels, parts, 3).
// add_mean, add_variance: (channels,), add_factor: (1,): the sums of past statistics, which fade by
// `fraction`; the mean is added `weight` times, the variance `of_variance` times.
extern "C" __global__ void batch_statistics(size_t count, size_t parts, size_t inner, T number,
                                            T eps, T fraction, T weight, T of_variance, const T* x,
                                            const T* partial, T* mean, T* inverse, T* add_mean,
                                            T* add_variance, T* add_factor) {
  EACH_ROW(channel, count) {
    const Moments all = channel_moments(partial, channel, parts);
    if (threadIdx.x) continue;
    const T middle = origin_of(x, channel, inner) + all.mean, variance = all.spread / number;
    mean[channel] = middle;
    inverse[channel] = 1 / sqrt(variance + eps);
    add_mean[channel] = faded(add_mean[channel], fraction) + weight * middle;
    add_variance[channel] = faded(add_variance[channel], fraction) + of_variance * variance;
    if (channel == 0) add_factor[0] = faded(add_factor[0], fraction) + weight;
  }
}

// By rows, one for each channel. inverse: 1 / (deviation + eps), or 1 where not `divide`.
extern "C" __global__ void mean_and_deviation(size_t count, size_t parts, size_t inner, T number,
                                              T eps, bool divide, const T* x, const T* partial,
                                              T* mean, T* inverse) {
  EACH_ROW(channel, count) {
    const Moments all = channel_moments(partial, channel, parts);
    if (threadIdx.x) continue;
    mean[channel] = origin_of(x, channel, inner) + all.mean;
    inverse[channel] = divide ? 1 / (sqrt(all.spread / number) + eps) : (T)1;
  }
}

// sum_mean, sum_variance: (channels,), factor: (1,): statistics that were summed up; 0 where the
// factor is.
extern "C" __global__ void stored_statistics(size_t count, T eps, const T* sum_mean,
                                             const T* sum_variance, const T* factor, T* mean,
                                             T* inverse) {
  const T share = factor[0] == 0 ? (T)0 : 1 / factor[0];
  EACH(channel, count) {
    mean[channel] = sum_mean[channel] * share;
    inverse[channel] = 1 / sqrt(sum_variance[channel] * share + eps);
  }
}

// (x - mean) inverse
extern "C" __global__ void normalise(size_t count, size_t channels, size_t inner, const T* x,
                                     const T* mean, const T* inverse, T* out) {
  map_channels(
      count, channels, inner, [=](size_t c, T at) { return (at - mean[c]) * inverse[c]; }, out, x);
}

// The same, and a copy of x, which out overwrites.
extern "C" __global__ void normalise_and_keep(size_t count, size_t channels, size_t inner,
                                              const T* x, const T* mean, const T* inverse, T* kept,
                                              T* out) {
  T* const outs[] = {out, kept};
  map_places(
      count, [=](size_t i) { return Channel(i, channels, inner); },
      [=](const Channel& place, T* results, T at) {
        results[0] = (at - mean[place.channel]) * inverse[place.channel];
        results[1] = at;
      },
      outs, x);
}

// dy inverse
extern "C" __global__ void scale_channels(size_t count, size_t channels, size_t inner, const T* dy,
                                          const T* inverse, T* out) {
  map_channels(
      count, channels, inner, [=](size_t c, T slope) { return slope * inverse[c]; }, out, dy);
}

struct Slopes {
  T ones, along;
};

// A thread's share of a part: the sums of dy and dy y.
template <bool WHOLE, int W>
__device__ inline Slopes slopes_in(Walk<W> walk, T mean, T inverse, const T* dy, const T* x) {
  Slopes sums = {0, 0};
#pragma unroll 4
  for (; walk.at < walk.end; walk.next()) {
    const Lanes<W> slope = load<W, WHOLE>(dy + walk.element());
    const Lanes<W> at = load<W, WHOLE>(x + walk.element());
    for (int lane = 0; lane < W; ++lane) {
      sums.ones += slope.lane[lane];
      sums.along += slope.lane[lane] * ((at.lane[lane] - mean) * inverse);
    }
  }
  return sums;
}

// By rows, one for each of (channels, parts). partial: (channels, parts, 2): the sums of dy and of
// dy y, where y is (x - mean) inverse; x itself with `normal`.
extern "C" __global__ void gradient_sums_of_rows(size_t count, size_t parts, size_t outer,
                                                 size_t channels, size_t inner, bool normal,
                                                 const T* dy, const T* x, const T* mean,
                                                 const T* inverse, T* partial) {
  EACH_ROW(row, count) {
    const T middle = normal ? (T)0 : mean[row / parts];
    const T scale = normal ? (T)1 : inverse[row / parts];
    Slopes sums;
    if (inner % LANES) {
      sums = slopes_in<false>(Walk<1>(row, parts, outer, channels, inner), middle, scale, dy, x);
    } else {
      const Walk<LANES> walk(row, parts, outer, channels, inner);
      sums = aligned(dy, x) ? slopes_in<true>(walk, middle, scale, dy, x)
                            : slopes_in<false>(walk, middle, scale, dy, x);
    }
    const T ones = block_sum(sums.ones), along = block_sum(sums.along);
    if (threadIdx.x == 0) partial[2 * row] = ones, partial[2 * row + 1] = along;
  }
}

// The same where inner is small; see moments_of_columns. partial: (channels, parts, inner, 2).
extern "C" __global__ void gradient_sums_of_columns(size_t count, size_t parts, size_t outer,
                                                    size_t channels, size_t inner, bool normal,
                                                    const T* dy, const T* x, const T* mean,
                                                    const T* inverse, T* partial) {
  const size_t columns = channels * inner;
  EACH(i, count) {
    const size_t part = i / columns, column = i % columns, channel = column / inner;
    const T middle = normal ? (T)0 : mean[channel], scale = normal ? (T)1 : inverse[channel];
    T ones = 0, along = 0;
#pragma unroll 4
    for (size_t sample = part * outer / parts; sample < (part + 1) * outer / parts; ++sample) {
      const T slope = dy[sample * columns + column];
      ones += slope;
      along += slope * ((x[sample * columns + column] - middle) * scale);
    }
    T* into = partial + 2 * ((channel * parts + part) * inner + column % inner);
    into[0] = ones, into[1] = along;
  }
}

// By rows, one for each channel: the means of dy and dy y. partial: (channels, parts, 2).
extern "C" __global__ void gradient_means(size_t count, size_t parts, T number, const T* partial,
                                          T* along_ones, T* along_normal) {
  EACH_ROW(channel, count) {
    T ones = 0, along = 0;
    for (size_t part = threadIdx.x; part < parts; part += BLOCK) {
      ones += partial[2 * (channel * parts + part)];
      along += partial[2 * (channel * parts + part) + 1];
    }
    ones = block_sum(ones), along = block_sum(along);
    if (threadIdx.x) continue;
    along_ones[channel] = ones / number;
    along_normal[channel] = along / number;
  }
}

// out = (dy - along_ones - y along_normal) inverse; y as for the sums.
extern "C" __global__ void normalise_backward(size_t count, size_t channels, size_t inner,
                                              bool normal, const T* dy, const T* x, const T* mean,
                                              const T* inverse, const T* along_ones,
                                              const T* along_normal, T* out) {
  map_channels(
      count, channels, inner,
      [=](size_t c, T slope, T at) {
        const T y = normal ? at : (at - mean[c]) * inverse[c];
        return (slope - along_ones[c] - y * along_normal[c]) * inverse[c];
      },
      out, dy, x);
}
