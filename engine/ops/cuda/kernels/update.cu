// Updates of parameters: each rule reads gradient, weights and history once, and writes them once;
// and the sums of squares that norms are made of.
//
// data, diff, update and histories have `count` elements. update: gets what was subtracted from the
// weights where `keep` is set; it may be diff, and else is not touched. watch: where something was
// found wrong, nothing is changed. factor: (1,) goes with scale; 0: nothing is changed, and update
// is 0. numbers: scale, decay, and those that each kernel names.

#include "common.cuh"
#include "map.cuh"

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

// What becomes of each element. g = scale * diff + decay * weight (its sign with l1);
// rule(g, weight, past...) changes the histories and returns what is subtracted from the weight.
template <bool KEEP, class Rule, class... H>
__device__ inline void change(size_t count, T scale, T decay, int l1, Rule rule, const T* diff,
                              T* update, T* data, H*... histories) {
  const auto each = [=](const Anywhere&, T* results, T slope, T weight, H... past) {
    T g = slope * scale;
    if (decay != 0) g += penalty(weight, decay, l1);
    const T taken = rule(g, weight, past...);
    const T made[] = {weight - taken, past..., taken};
    for (int k = 0; k < (int)sizeof...(H) + 1 + KEEP; ++k) results[k] = made[k];
  };
  const auto start = [](size_t) { return Anywhere(); };
  if constexpr (KEEP) {
    T* const outs[] = {data, histories..., update};
    map_places(count, start, each, outs, diff, data, histories...);
  } else {
    T* const outs[] = {data, histories...};
    map_places(count, start, each, outs, diff, data, histories...);
  }
}

template <class Rule, class... H>
__device__ inline void update_each(size_t count, T scale, T decay, int l1, int keep,
                                   const u64* watch, const T* factor, Rule rule, const T* diff,
                                   T* update, T* data, H*... histories) {
  if (*watch) return;
  if (*factor == 0) {
    if (keep) EACH(i, count) update[i] = 0;
    return;
  }
  scale *= *factor;
  if (keep)
    change<true>(count, scale, decay, l1, rule, diff, update, data, histories...);
  else
    change<false>(count, scale, decay, l1, rule, diff, update, data, histories...);
}

struct Descent {
  T momentum;
  __device__ T operator()(T g, T, T& velocity) const {
    velocity = velocity * momentum + g;
    return velocity;
  }
};

// numbers: momentum. The rate is a factor of scale and decay.
extern "C" __global__ void sgd(size_t count, int l1, int keep, const unsigned long long* watch,
                               const T* factor, const T* diff, T* update, T* add_data,
                               T* add_history, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor, Descent{(T)numbers[2]},
              diff, update, add_data, add_history);
}

// numbers: momentum.  factors: (2,) what takes the place of scale and decay.
extern "C" __global__ void lars(size_t count, int l1, int keep, const unsigned long long* watch,
                                const T* factor, const T* diff, T* update, T* add_data,
                                T* add_history, const double* numbers, const double* factors) {
  update_each(count, (T)factors[0], (T)factors[1], l1, keep, watch, factor, Descent{(T)numbers[2]},
              diff, update, add_data, add_history);
}

struct Nesterov {
  T momentum, ahead;
  __device__ T operator()(T g, T, T& velocity) const {
    const T back = velocity * momentum;
    velocity = back + g;
    return velocity * ahead - back;
  }
};

// numbers: momentum, 1 + momentum. The rate is a factor of scale and decay.
extern "C" __global__ void nesterov(size_t count, int l1, int keep, const unsigned long long* watch,
                                    const T* factor, const T* diff, T* update, T* add_data,
                                    T* add_history, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor,
              Nesterov{(T)numbers[2], (T)numbers[3]}, diff, update, add_data, add_history);
}

struct AdaGrad {
  T rate, delta;
  __device__ T operator()(T g, T, T& squares) const {
    squares += g * g;
    return normalised(g, squares, rate, delta);
  }
};

// numbers: rate, delta.
extern "C" __global__ void adagrad(size_t count, int l1, int keep, const unsigned long long* watch,
                                   const T* factor, const T* diff, T* update, T* add_data,
                                   T* add_history, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor,
              AdaGrad{(T)numbers[2], (T)numbers[3]}, diff, update, add_data, add_history);
}

struct RmsProp {
  T rate, delta, rms_decay, rest;
  __device__ T operator()(T g, T, T& squares) const {
    squares = blend_square(squares, g, rms_decay, rest);
    return normalised(g, squares, rate, delta);
  }
};

// numbers: rate, delta, rms_decay, 1 - rms_decay.
extern "C" __global__ void rmsprop(size_t count, int l1, int keep, const unsigned long long* watch,
                                   const T* factor, const T* diff, T* update, T* add_data,
                                   T* add_history, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor,
              RmsProp{(T)numbers[2], (T)numbers[3], (T)numbers[4], (T)numbers[5]}, diff, update,
              add_data, add_history);
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

// numbers: rate, delta, momentum, 1 - momentum.
extern "C" __global__ void adadelta(size_t count, int l1, int keep, const unsigned long long* watch,
                                    const T* factor, const T* diff, T* update, T* add_data,
                                    T* add_squares, T* add_updates, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor,
              AdaDelta{(T)numbers[2], (T)numbers[3], (T)numbers[4], (T)numbers[5]}, diff, update,
              add_data, add_squares, add_updates);
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

// numbers: rate, delta, momentum, 1 - momentum, momentum2, 1 - momentum2, shrink.
extern "C" __global__ void adam(size_t count, int l1, int keep, const unsigned long long* watch,
                                const T* factor, const T* diff, T* update, T* add_data, T* add_mean,
                                T* add_squares, const double* numbers) {
  update_each(count, (T)numbers[0], (T)numbers[1], l1, keep, watch, factor,
              Adam{(T)numbers[2], (T)numbers[3], (T)numbers[4], (T)numbers[5], (T)numbers[6],
                   (T)numbers[7], (T)numbers[8], l1}, diff, update, add_data, add_mean,
              add_squares);
}

// ---- norms: the elements of an array go in `parts` rows of `size`, so that sums have one order

// x: (count,)  add_sums: gets the sum of squares of each row, from place `first` on.
extern "C" __global__ void squares(size_t parts, size_t size, size_t count, size_t first,
                                   const T* x, T* add_sums) {
  EACH_ROW(part, parts) {
    const size_t end = (part + 1) * size < count ? (part + 1) * size : count;
    T sum = 0;
#pragma unroll 4
    for (size_t i = part * size + threadIdx.x; i < end; i += BLOCK) sum += x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) add_sums[first + part] = sum;
  }
}

// sums: (parts,)  out: (1,)
extern "C" __global__ void total(size_t one, size_t parts, const T* sums, T* out) {
  EACH_ROW(row, one) {
    T sum = 0;
    for (size_t i = threadIdx.x; i < parts; i += BLOCK) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = sum;
  }
}

// numbers: of `lars`, and: norm_decay.  sums: (2, parts) the sums of squares of data, and of
// scale * diff + norm_decay * data.
extern "C" __global__ void lars_squares(size_t parts, size_t size, size_t count, int l1,
                                        const double* numbers, const T* factor, const T* data,
                                        const T* diff, T* sums) {
  const T scale = (T)numbers[0] * *factor, decay = (T)numbers[3];
  EACH_ROW(part, parts) {
    const size_t end = (part + 1) * size < count ? (part + 1) * size : count;
    T weights = 0, gradients = 0;
#pragma unroll 4
    for (size_t i = part * size + threadIdx.x; i < end; i += BLOCK) {
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

// numbers: of lars_squares, and: rate, trust, denominator_decay.  sums: of lars_squares.  factors:
// (2,) scale and decay, times the rate of the parameter.
extern "C" __global__ void lars_factors(size_t one, size_t parts, int clip, const double* numbers,
                                        const T* sums, double* factors) {
  const double rate = numbers[4], trust = numbers[5], denominator_decay = numbers[6];
  EACH_ROW(row, one) {
    T weights = 0, gradients = 0;
    for (size_t i = threadIdx.x; i < parts; i += BLOCK) {
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
      factors[0] = numbers[0] * own;
      factors[1] = numbers[1] * own;
    }
  }
}
