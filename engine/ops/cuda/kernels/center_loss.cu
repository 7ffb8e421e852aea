// Distances of features from the centres of their classes. x: (samples, size), the features; c:
// (classes, size), the centres; label: (samples); what else tells the class of a sample is said at
// class_of: a label that is no class counts for nothing.

#include "common.cuh"
#include "division.cuh"
#include "labels.cuh"
#include "loss_sums.cuh"

// (x - c[label])^2, summed by parts. count: of x; out: (parts), divided by what divisor_of gives.
extern "C" __global__ void center_loss(size_t parts, size_t count, size_t classes, size_t size,
                                       const T* x, const T* c, const T* label, bool ignores,
                                       int ignore, unsigned long long number,
                                       unsigned long long* add_watch, T divisor, const T* valid,
                                       T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const Division at = divide(i, size);
      const long long own =
          class_of(label, at.quotient, classes, ignores, ignore, number, add_watch);
      const T difference = own < 0 ? (T)0 : x[i] - c[own * size + at.rest];
      sum += difference * difference;
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// x - c[label], weighted. dloss: (1), the gradient of the loss; out: like x.
extern "C" __global__ void center_loss_backward(size_t count, size_t classes, size_t size,
                                                const T* x, const T* c, const T* label,
                                                bool ignores, int ignore,
                                                unsigned long long number,
                                                unsigned long long* add_watch, const T* dloss,
                                                T divisor, T* out) {
  const T weight = dloss[0] / divisor;
  EACH(i, count) {
    const Division at = divide(i, size);
    const long long own = class_of(label, at.quotient, classes, ignores, ignore, number, add_watch);
    out[i] = own < 0 ? (T)0 : (x[i] - c[own * size + at.rest]) * weight;
  }
}

// Adds for each class the sum of c - x over its n samples, divided by n + 1, in the order of the
// samples: by rows, one for each sample; the first one of a class does its work. All of that
// dloss[0] / weight times, once where the weight is 0. add_c: like c.
extern "C" __global__ void add_center_pulls(size_t samples, size_t classes, size_t size,
                                            const T* x, const T* c, const T* label, bool ignores,
                                            int ignore, unsigned long long number,
                                            unsigned long long* add_watch, const T* dloss,
                                            T weight, T* add_c) {
  const T times = weight == 0 ? (T)1 : dloss[0] / weight;
  EACH_ROW(row, samples) {
    const long long own = class_of(label, row, classes, ignores, ignore, number, add_watch);
    T before = 0, after = 0;  // samples of the class; a whole number of them is exact
    for (size_t other = threadIdx.x; other < samples; other += BLOCK)
      if (class_of(label, other, classes, ignores, ignore, number, add_watch) == own)
        (other < row ? before : after) += 1;
    before = block_sum(before);
    after = block_sum(after);
    if (own < 0 || before > 0) continue;
    for (size_t column = threadIdx.x; column < size; column += BLOCK) {
      const T center = c[own * size + column];
      T sum = 0;
      for (size_t other = row; other < samples; ++other)
        if (class_of(label, other, classes, ignores, ignore, number, add_watch) == own)
          sum += center - x[other * size + column];
      add_c[own * size + column] += times * (sum / (after + 1));
    }
  }
}
