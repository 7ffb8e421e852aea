// What is lost where boxes are not where they should be, or of another class. Include boxes.cuh and
// loss_sums.cuh before.

// The loss of a difference d: d^2 / 2; if smooth |d| - 1/2 where |d| is 1 or more.
__device__ inline T location_loss_of(T d, bool smooth) {
  const T size = d < 0 ? -d : d;
  return smooth && !(size < 1) ? size - (T)0.5 : d * d / 2;
}

// How far the location of a match is from what it should be, and how fast that changes with the
// location. values, slopes: (4). inside: sides of the matched box outside of the image do not
// count.
__device__ inline void location_difference(size_t prior, size_t priors_count, bool by_prior,
                                           bool inside, int code, bool in_target,
                                           const T* location, const T* priors, const T* truth,
                                           long long row, T* values, T* slopes) {
  const Box own = box_at(priors + 4 * prior);
  const T* variance = priors + 4 * (priors_count + prior);
  const Box wanted = encode(own, variance, box_at(truth + row * TRUTH + 3), code, in_target);
  const Box matched =
      by_prior || !inside ? own : decode(own, variance, location, code, in_target);
  for (int side = 0; side < 4; ++side) {
    slopes[side] = in_target ? 1 / variance[side] : (T)1;
    values[side] = (location[side] - wanted.side[side]) * slopes[side];
    if (inside && is_outside(matched.side[side])) values[side] = slopes[side] = 0;
  }
}

// The cross entropy of the sigmoid of x; target: 0 or 1.
__device__ inline T logistic_loss_of(T x, T target) {
  return (x > 0 || x != x ? x : (T)0) - x * target + log1p(exp(x < 0 ? x : -x));
}
