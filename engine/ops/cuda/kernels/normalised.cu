// BatchNorm, Scale and ReLU as one: out = relu(t s + b) with t = (x - mean) inverse. x, dy, out, y
// and kept are seen as (outer, channels, inner); mean, inverse, s, b, along_ones and along_normal
// have `channels` elements. out may be x or dy. s is not looked at unless `scales`, b not unless
// `shifts`. slope: of the ReLU; 1 where there is none. See normalise.cu for parts of sums.

#include "common.cuh"
#include "affine.cuh"
#include "division.cuh"
#include "map.cuh"
#include "walk.cuh"

// What happens to the elements of a channel.
struct Channels {
  bool scales, shifts;
  T slope;
  const T *mean, *inverse, *s, *b;

  __device__ T normal(size_t c, T x) const { return (x - mean[c]) * inverse[c]; }
  __device__ T factor(size_t c) const { return scales ? s[c] : (T)1; }
  __device__ T before_relu(size_t c, T normal) const {
    if (!scales) return normal;
    return shifts ? scaled(normal, s[c], b[c]) : normal * s[c];
  }
  __device__ T operator()(size_t c, T x) const {
    return rectified(before_relu(c, normal(c, x)), slope);
  }
};

extern "C" __global__ void normalised(size_t count, size_t channels, size_t inner, bool scales,
                                      bool shifts, T slope, const T* x, const T* mean,
                                      const T* inverse, const T* s, const T* b, T* out) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  map_channels(count, channels, inner, of, out, x);
}

// The same; kept becomes x.
extern "C" __global__ void normalised_and_keep(size_t count, size_t channels, size_t inner,
                                               bool scales, bool shifts, T slope, const T* x,
                                               const T* mean, const T* inverse, const T* s,
                                               const T* b, T* out, T* kept) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  map_channels_kept(count, channels, inner, of, out, kept, x);
}

// The same; kept becomes t.
extern "C" __global__ void normalised_and_keep_normal(size_t count, size_t channels, size_t inner,
                                                      bool scales, bool shifts, T slope, const T* x,
                                                      const T* mean, const T* inverse, const T* s,
                                                      const T* b, T* out, T* kept) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  T* const outs[] = {out, kept};
  map_places(
      count, [=](size_t i) { return Channel(i, channels, inner); },
      [&](const Channel& at, T* results, T here) {
        const T normal = of.normal(at.channel, here);
        results[0] = rectified(of.before_relu(at.channel, normal), slope);
        results[1] = normal;
      },
      outs, x);
}

// ---- the way back. y: what came out. Its signs are looked at where the flag is not 0, else they
// are those of what comes from x again.

struct Slopes {
  T ones, along;

  // dy: the gradient of t s + b.
  __device__ void add(T dy, T normal) { ones += dy, along += dy * normal; }
};

// A thread's share of a part: the sums of dy and dy t. GIVEN: y is looked at.
template <bool WHOLE, bool GIVEN, int W>
__device__ inline Slopes slopes_in(Walk<W> walk, const Channels& of, const T* dy, const T* x,
                                   const T* y) {
  Slopes sums = {0, 0};
#pragma unroll 4
  for (; walk.at < walk.end; walk.next()) {
    const Lanes<W> slope = load<W, WHOLE>(dy + walk.element());
    const Lanes<W> at = load<W, WHOLE>(x + walk.element());
    Lanes<W> result;
    if (GIVEN) result = load<W, WHOLE>(y + walk.element());
    for (int lane = 0; lane < W; ++lane) {
      const T normal = of.normal(walk.channel, at.lane[lane]);
      const T sign = GIVEN ? result.lane[lane] : of.before_relu(walk.channel, normal);
      sums.add(rectified_gradient(slope.lane[lane], sign, of.slope), normal);
    }
  }
  return sums;
}

template <bool GIVEN>
__device__ inline void sums_of_rows(size_t count, size_t parts, size_t outer, size_t channels,
                                    size_t inner, const Channels& of, const T* dy, const T* x,
                                    const T* y, T* partial) {
  EACH_ROW(row, count) {
    Slopes sums;
    if (inner % LANES) {
      const Walk<1> walk(row, parts, outer, channels, inner);
      sums = slopes_in<false, GIVEN>(walk, of, dy, x, y);
    } else {
      const Walk<LANES> walk(row, parts, outer, channels, inner);
      sums = aligned(dy, x, y) ? slopes_in<true, GIVEN>(walk, of, dy, x, y)
                               : slopes_in<false, GIVEN>(walk, of, dy, x, y);
    }
    const T ones = block_sum(sums.ones), along = block_sum(sums.along);
    if (threadIdx.x == 0) partial[2 * row] = ones, partial[2 * row + 1] = along;
  }
}

// By rows, one for each of (channels, parts). partial: (channels, parts, 2): the sums of dy and of
// dy t, dy being the gradient of t s + b.
extern "C" __global__ void normalised_sums_of_rows(
    size_t count, size_t parts, size_t outer, size_t channels, size_t inner, bool scales,
    bool shifts, T slope, const unsigned long long* given, const T* dy, const T* x, const T* y,
    const T* mean, const T* inverse, const T* s, const T* b, T* partial) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  if (*given)
    sums_of_rows<true>(count, parts, outer, channels, inner, of, dy, x, y, partial);
  else
    sums_of_rows<false>(count, parts, outer, channels, inner, of, dy, x, y, partial);
}

// The same where inner is small: neighbouring threads take neighbouring columns of (outer,
// channels * inner). count: parts * channels * inner.  partial: (channels, parts, inner, 2).
extern "C" __global__ void normalised_sums_of_columns(
    size_t count, size_t parts, size_t outer, size_t channels, size_t inner, bool scales,
    bool shifts, T slope, const unsigned long long* given, const T* dy, const T* x, const T* y,
    const T* mean, const T* inverse, const T* s, const T* b, T* partial) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  const size_t columns = channels * inner;
  const bool looks = *given;
  EACH(i, count) {
    const Division at = divide(i, columns);
    const size_t part = at.quotient, column = at.rest, channel = column / inner;
    Slopes sums = {0, 0};
#pragma unroll 4
    for (size_t sample = part * outer / parts; sample < (part + 1) * outer / parts; ++sample) {
      const size_t place = sample * columns + column;
      const T normal = of.normal(channel, x[place]);
      const T sign = looks ? y[place] : of.before_relu(channel, normal);
      sums.add(rectified_gradient(dy[place], sign, slope), normal);
    }
    T* into = partial + 2 * ((channel * parts + part) * inner + column % inner);
    into[0] = sums.ones, into[1] = sums.along;
  }
}

// By rows, one for each channel: the means of dy and dy t, and what is added to the gradients of s
// and b. partial: (channels, parts, 2).
extern "C" __global__ void normalised_means(size_t count, size_t parts, T number, const T* partial,
                                            T* along_ones, T* along_normal, T* add_s, T* add_b) {
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
    add_s[channel] += along;
    add_b[channel] += ones;
  }
}

// out = (dy - along_ones - t along_normal) s inverse, dy as for the sums.
extern "C" __global__ void normalised_backward(
    size_t count, size_t channels, size_t inner, bool scales, bool shifts, T slope,
    const unsigned long long* given, const T* dy, const T* x, const T* y, const T* mean,
    const T* inverse, const T* s, const T* b, const T* along_ones, const T* along_normal, T* out) {
  const Channels of = {scales, shifts, slope, mean, inverse, s, b};
  const auto gradient = [=](size_t c, T d, T normal, T sign) {
    const T part = rectified_gradient(d, sign, slope) - along_ones[c] - normal * along_normal[c];
    return part * (of.factor(c) * inverse[c]);
  };
  if (*given) {
    map_channels(
        count, channels, inner,
        [=](size_t c, T d, T at, T result) { return gradient(c, d, of.normal(c, at), result); },
        out, dy, x, y);
  } else {
    map_channels(
        count, channels, inner,
        [=](size_t c, T d, T at) {
          const T normal = of.normal(c, at);
          return gradient(c, d, normal, of.before_relu(c, normal));
        },
        out, dy, x);
  }
}
