// Losses of scores or probabilities against class labels. x, p: (outer, size, inner), a position
// being one of outer * inner; label: (positions); what else tells the class of a position is said
// at class_of. Forward kernels sum by parts: out: (parts), divided by what divisor_of gives.
// Backward kernels write the gradient of x or p, out, like these; dloss: (1), the gradient of the
// loss.

#include "common.cuh"
#include "labels.cuh"
#include "positions.cuh"
#include "loss_sums.cuh"

#define LEAST_PROBABILITY ((T)1e-20)  // Caffe's bound for logarithms

// -log(p[label]); p is the softmax of the scores.
extern "C" __global__ void softmax_loss(size_t parts, size_t positions, size_t size, size_t inner,
                                        const T* p, const T* label, bool ignores, int ignore,
                                        unsigned long long number, unsigned long long* add_watch,
                                        T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(position, part, parts, positions) {
      const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
      if (own >= 0)
        sum -= log(at_least(p[start_of(position, size, inner) + own * inner], SMALLEST));
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The same of each position, 0 where it counts for nothing. out: (positions).
extern "C" __global__ void softmax_loss_positions(size_t positions, size_t size, size_t inner,
                                                  const T* p, const T* label, bool ignores,
                                                  int ignore, unsigned long long number,
                                                  unsigned long long* add_watch, T* out) {
  EACH(position, positions) {
    const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
    const size_t first = start_of(position, size, inner);
    out[position] = own < 0 ? (T)0 : -log(at_least(p[first + own * inner], SMALLEST));
  }
}

// p - 1 at the label, else p, weighted
extern "C" __global__ void softmax_loss_backward(size_t count, size_t size, size_t inner,
                                                 const T* p, const T* label, bool ignores,
                                                 int ignore, unsigned long long number,
                                                 unsigned long long* add_watch, const T* dloss,
                                                 T divisor, const T* valid, T* out) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const long long own =
        class_of(label, position_of(i, size, inner), size, ignores, ignore, number, add_watch);
    const T hit = class_at(i, size, inner) == (size_t)own ? 1 : 0;
    out[i] = (own < 0 ? (T)0 : p[i] - hit) * weight;
  }
}

// -sum over classes l of h[label, l] log(max(p[l], 1e-20)). count: of p; h: (size, size).
extern "C" __global__ void infogain_loss(size_t parts, size_t count, size_t size, size_t inner,
                                         const T* p, const T* h, const T* label, bool ignores,
                                         int ignore, unsigned long long number,
                                         unsigned long long* add_watch, T divisor, const T* valid,
                                         T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const long long own =
          class_of(label, position_of(i, size, inner), size, ignores, ignore, number, add_watch);
      if (own >= 0)
        sum -= h[own * size + class_at(i, size, inner)] * log(at_least(p[i], LEAST_PROBABILITY));
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The sums of the rows of h: (size, size); out: (size).
extern "C" __global__ void row_sums(size_t rows, size_t size, const T* h, T* out) {
  EACH_ROW(row, rows) {
    T sum = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK) sum += h[row * size + k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[row] = sum;
  }
}

// p[l] totals[label] - h[label, l], weighted. h: (size, size); totals: (size), the sums of its
// rows.
extern "C" __global__ void infogain_loss_backward(size_t count, size_t size, size_t inner,
                                                  const T* p, const T* h, const T* totals,
                                                  const T* label, bool ignores, int ignore,
                                                  unsigned long long number,
                                                  unsigned long long* add_watch, const T* dloss,
                                                  T divisor, const T* valid, T* out) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const long long own =
        class_of(label, position_of(i, size, inner), size, ignores, ignore, number, add_watch);
    T slope = 0;
    if (own >= 0) slope = p[i] * totals[own] - h[own * size + class_at(i, size, inner)];
    out[i] = slope * weight;
  }
}

// max(0, 1 - s x), s being 1 at the label, else -1; 0 where there is no class.
__device__ inline T margin_of(T x, long long own, size_t at) {
  if (own < 0) return 0;
  return at_least(((size_t)own == at ? -x : x) + 1, (T)0);
}

// The margins, or their squares. x, margins: (samples, size).
extern "C" __global__ void hinge_loss(size_t parts, size_t count, size_t size, bool squared,
                                      const T* x, const T* label, bool ignores, int ignore,
                                      unsigned long long number, unsigned long long* add_watch,
                                      T* margins, T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const long long own = class_of(label, i / size, size, ignores, ignore, number, add_watch);
      const T margin = margin_of(x[i], own, i % size);
      margins[i] = margin;
      sum += squared ? margin * margin : margin;
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The signs of the margins, or twice the margins, less than 0 at the label, weighted.
extern "C" __global__ void hinge_loss_backward(size_t count, size_t size, bool squared, const T* x,
                                               const T* label, bool ignores, int ignore,
                                               unsigned long long number,
                                               unsigned long long* add_watch, const T* dloss,
                                               T divisor, const T* valid, T* out) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const long long own = class_of(label, i / size, size, ignores, ignore, number, add_watch);
    const T margin = margin_of(x[i], own, i % size);
    const T slope = squared ? 2 * margin : (margin > 0 ? (T)1 : margin);
    out[i] = (i % size == (size_t)own ? -slope : slope) * weight;
  }
}

// -log(max(p[label], 1e-20)). p: (samples, size).
extern "C" __global__ void logistic_loss(size_t parts, size_t samples, size_t size, const T* p,
                                         const T* label, bool ignores, int ignore,
                                         unsigned long long number, unsigned long long* add_watch,
                                         T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(sample, part, parts, samples) {
      const long long own = class_of(label, sample, size, ignores, ignore, number, add_watch);
      if (own >= 0) sum -= log(at_least(p[sample * size + own], LEAST_PROBABILITY));
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// -1 / max(p, 1e-20) at the label, else 0, weighted
extern "C" __global__ void logistic_loss_backward(size_t count, size_t size, const T* p,
                                                  const T* label, bool ignores, int ignore,
                                                  unsigned long long number,
                                                  unsigned long long* add_watch, const T* dloss,
                                                  T divisor, const T* valid, T* out) {
  const T weight = -dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const long long own = class_of(label, i / size, size, ignores, ignore, number, add_watch);
    out[i] = i % size == (size_t)own ? weight / at_least(p[i], LEAST_PROBABILITY) : (T)0;
  }
}
