// Updates of parameters: each rule reads gradient, weights and history once, and writes them once;
// and the sums of squares that norms are made of.
//
// data, diff, update and histories have `count` elements. update: gets what was subtracted from the
// weights where `keep` is set; it may be diff, and else is not touched. watch: where something was
// found wrong, nothing is changed. A thread takes LANES elements at a time, in accesses of 16 bytes
// where all pointers allow it.

#include "common.cuh"

constexpr int LANES = 16 / sizeof(T);

struct alignas(16) Pack {
  T at[LANES];
};

// A loop over the lanes that leaves packs in registers.
#define EACH_LANE(lane) _Pragma("unroll") for (int lane = 0; lane < LANES; ++lane)

// At place i of an array a pack, or the `size` elements that are left of it, and zeros.
__device__ inline Pack load(const T* from, size_t i, int size, bool whole) {
  if (whole) return *(const Pack*)(from + i);
  Pack pack = {};
  EACH_LANE(lane) if (lane < size) pack.at[lane] = from[i + lane];
  return pack;
}

__device__ inline void store(T* to, size_t i, int size, bool whole, const Pack& pack) {
  if (whole) {
    *(Pack*)(to + i) = pack;
  } else {
    EACH_LANE(lane) if (lane < size) to[i + lane] = pack.at[lane];
  }
}

__device__ inline bool aligned(const T* pointer) { return (size_t)pointer % sizeof(Pack) == 0; }

// decay * weight, or decay * sign(weight).
__device__ inline T penalty(T weight, T decay, int l1) {
  if (!l1) return weight * decay;
  return (weight > 0 ? (T)1 : weight < 0 ? (T)-1 : weight) * decay;
}

__device__ inline T blend_square(T squares, T term, T keep, T rest) {
  return squares * keep + term * term * rest;
}

__device__ inline T normalised(T term, T squares, T rate, T delta) {
  return term / (sqrt(squares) + delta) * rate;
}

// Calls rule(g, weight, first, second) for each element, which changes the histories and returns
// what is subtracted from the weight. g = scale * diff + decay * weight (its sign with l1).
// second: null for a rule of one history.
template <class Rule>
__device__ inline void update_each(size_t count, T scale, T decay, int l1, int keep, const u64* watch,
                                   const T* diff, T* update, T* data, T* first, T* second,
                                   const Rule& rule) {
  if (*watch) return;
  const bool wide = aligned(diff) && aligned(data) && aligned(first) && aligned(second) &&
                    (!keep || aligned(update));
  const size_t stride = (size_t)gridDim.x * blockDim.x * LANES;
  for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * LANES; i < count; i += stride) {
    const int size = count - i < LANES ? (int)(count - i) : LANES;
    const bool whole = wide && size == LANES;
    Pack slope = load(diff, i, size, whole);
    Pack weights = load(data, i, size, whole);
    Pack one = load(first, i, size, whole);
    Pack other = {};
    if (second) other = load(second, i, size, whole);
    EACH_LANE(lane) {
      T g = slope.at[lane] * scale;
      if (decay != 0) g += penalty(weights.at[lane], decay, l1);
      const T taken = rule(g, weights.at[lane], one.at[lane], other.at[lane]);
      weights.at[lane] -= taken;
      slope.at[lane] = taken;
    }
    store(data, i, size, whole, weights);
    store(first, i, size, whole, one);
    if (second) store(second, i, size, whole, other);
    if (keep) store(update, i, size, whole, slope);
  }
}

struct Descent {
  T momentum;
  __device__ T operator()(T g, T, T& velocity, T&) const {
    velocity = velocity * momentum + g;
    return velocity;
  }
};

// The rate is a factor of scale and decay.
extern "C" __global__ void sgd(size_t count, T scale, T decay, int l1, int keep,
                               const unsigned long long* watch, const T* diff, T* update,
                               T* add_data, T* add_history, T momentum) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_history, (T*)0,
              Descent{momentum});
}

// factors: (2,) what takes the place of scale and decay.
extern "C" __global__ void lars(size_t count, int l1, int keep,
                                const unsigned long long* watch, const T* diff, T* update,
                                T* add_data, T* add_history, T momentum, const double* factors) {
  update_each(count, (T)factors[0], (T)factors[1], l1, keep, watch, diff, update, add_data,
              add_history, (T*)0, Descent{momentum});
}

struct Nesterov {
  T momentum, ahead;
  __device__ T operator()(T g, T, T& velocity, T&) const {
    const T back = velocity * momentum;
    velocity = back + g;
    return velocity * ahead - back;
  }
};

// ahead: 1 + momentum. The rate is a factor of scale and decay.
extern "C" __global__ void nesterov(size_t count, T scale, T decay, int l1, int keep,
                                    const unsigned long long* watch, const T* diff, T* update,
                                    T* add_data, T* add_history, T momentum, T ahead) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_history, (T*)0,
              Nesterov{momentum, ahead});
}

struct AdaGrad {
  T rate, delta;
  __device__ T operator()(T g, T, T& squares, T&) const {
    squares += g * g;
    return normalised(g, squares, rate, delta);
  }
};

extern "C" __global__ void adagrad(size_t count, T scale, T decay, int l1, int keep,
                                   const unsigned long long* watch, const T* diff, T* update,
                                   T* add_data, T* add_history, T rate, T delta) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_history, (T*)0,
              AdaGrad{rate, delta});
}

struct RmsProp {
  T rate, delta, rms_decay, rest;
  __device__ T operator()(T g, T, T& squares, T&) const {
    squares = blend_square(squares, g, rms_decay, rest);
    return normalised(g, squares, rate, delta);
  }
};

// rest: 1 - rms_decay.
extern "C" __global__ void rmsprop(size_t count, T scale, T decay, int l1, int keep,
                                   const unsigned long long* watch, const T* diff, T* update,
                                   T* add_data, T* add_history, T rate, T delta, T rms_decay,
                                   T rest) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_history, (T*)0,
              RmsProp{rate, delta, rms_decay, rest});
}

struct AdaDelta {
  T rate, delta, momentum, rest;
  __device__ T operator()(T g, T, T& squares, T& updates) const {
    squares = blend_square(squares, g, momentum, rest);
    // two roots: a quotient of squares may leave the range of float
    const T step = g / sqrt(squares + delta) * sqrt(updates + delta);
    updates = blend_square(updates, step, momentum, rest);
    return step * rate;
  }
};

// rest: 1 - momentum.
extern "C" __global__ void adadelta(size_t count, T scale, T decay, int l1, int keep,
                                    const unsigned long long* watch, const T* diff, T* update,
                                    T* add_data, T* add_squares, T* add_updates, T rate, T delta,
                                    T momentum, T rest) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_squares,
              add_updates, AdaDelta{rate, delta, momentum, rest});
}

struct Adam {
  T rate, delta, momentum, rest, momentum2, rest2, shrink;
  int l1;
  __device__ T operator()(T g, T weight, T& mean, T& squares) const {
    mean = mean * momentum + g * rest;
    squares = blend_square(squares, g, momentum2, rest2);
    T step = normalised(mean, squares, rate, delta);
    if (shrink != 0) step += penalty(weight, shrink, l1);
    return step;
  }
};

// rest, rest2: 1 - momentum, 1 - momentum2.
extern "C" __global__ void adam(size_t count, T scale, T decay, int l1, int keep,
                                const unsigned long long* watch, const T* diff, T* update,
                                T* add_data, T* add_mean, T* add_squares, T rate, T delta,
                                T momentum, T rest, T momentum2, T rest2, T shrink) {
  update_each(count, scale, decay, l1, keep, watch, diff, update, add_data, add_mean, add_squares,
              Adam{rate, delta, momentum, rest, momentum2, rest2, shrink, l1});
}

// ---- norms: the elements of an array go in `parts` rows of `size`, so that sums have one order

// x: (count,)  add_sums: gets the sum of squares of each row, from place `first` on.
extern "C" __global__ void squares(size_t parts, size_t size, size_t count, size_t first,
                                   const T* x, T* add_sums) {
  EACH_ROW(part, parts) {
    const size_t end = (part + 1) * size < count ? (part + 1) * size : count;
    T sum = 0;
    for (size_t i = part * size + threadIdx.x; i < end; i += blockDim.x) sum += x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) add_sums[first + part] = sum;
  }
}

// sums: (parts,)  out: (1,)
extern "C" __global__ void total(size_t one, size_t parts, const T* sums, T* out) {
  EACH_ROW(row, one) {
    T sum = 0;
    for (size_t i = threadIdx.x; i < parts; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = sum;
  }
}

// sums: (2, parts) the sums of squares of data, and of scale * diff + decay * data.
extern "C" __global__ void lars_squares(size_t parts, size_t size, size_t count, T scale, T decay,
                                        int l1, const T* data, const T* diff, T* sums) {
  EACH_ROW(part, parts) {
    const size_t end = (part + 1) * size < count ? (part + 1) * size : count;
    T weights = 0, gradients = 0;
    for (size_t i = part * size + threadIdx.x; i < end; i += blockDim.x) {
      T g = diff[i] * scale;
      if (decay != 0) g += penalty(data[i], decay, l1);
      weights += data[i] * data[i];
      gradients += g * g;
    }
    weights = block_sum(weights);
    gradients = block_sum(gradients);
    if (threadIdx.x == 0) {
      sums[part] = weights;
      sums[parts + part] = gradients;
    }
  }
}

// sums: of lars_squares.  factors: (2,) scale and decay, times the rate of the parameter.
extern "C" __global__ void lars_factors(size_t one, size_t parts, double scale, double decay,
                                        double rate, double trust, double denominator_decay,
                                        int clip, const T* sums, double* factors) {
  EACH_ROW(row, one) {
    T weights = 0, gradients = 0;
    for (size_t i = threadIdx.x; i < parts; i += blockDim.x) {
      weights += sums[i];
      gradients += sums[parts + i];
    }
    weights = block_sum(weights);
    gradients = block_sum(gradients);
    if (threadIdx.x == 0) {
      double local = 1;
      if (weights > 0 && gradients > 0) {
        const double length = sqrt((double)weights);
        local = trust * length / (sqrt((double)gradients) + denominator_decay * length);
      }
      const double own = clip ? (local < rate ? local : rate) : rate * local;
      factors[0] = scale * own;
      factors[1] = decay * own;
    }
  }
}
