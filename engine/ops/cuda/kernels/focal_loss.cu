// The focal loss of scores against class labels. p: (outer, size, inner), the softmax of the scores,
// a position being one of outer * inner; label: (positions); what else tells the class of a position
// is said at class_of.

#include "common.cuh"
#include "labels.cuh"
#include "positions.cuh"
#include "loss_sums.cuh"
#include "focal.cuh"

// The losses, summed by parts. out: (parts), divided by what divisor_of gives.
extern "C" __global__ void focal_loss(size_t parts, size_t positions, size_t size, size_t inner,
                                      T alpha, T gamma, const T* p, const T* label, bool ignores,
                                      int ignore, unsigned long long number,
                                      unsigned long long* add_watch, T divisor, const T* valid,
                                      T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(position, part, parts, positions) {
      const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
      if (own >= 0)
        sum += focal_loss_of(p[start_of(position, size, inner) + own * inner], alpha, gamma);
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The slopes at the labels, weighted; 0 at ignored positions. dloss: (1), the gradient of the loss;
// out: (positions).
extern "C" __global__ void focal_slopes(size_t positions, size_t size, size_t inner, T alpha,
                                        T gamma, const T* p, const T* label, bool ignores,
                                        int ignore, unsigned long long number,
                                        unsigned long long* add_watch, const T* dloss, T divisor,
                                        const T* valid, T* out) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(position, positions) {
    const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
    T slope = 0;
    if (own >= 0)
      slope = weight * focal_slope(p[start_of(position, size, inner) + own * inner], alpha, gamma);
    out[position] = slope;
  }
}

// The gradient of the scores: the slope times 1 - p at the label, else times -p. slopes:
// (positions), 0 where the label is none; out: like p.
extern "C" __global__ void focal_loss_backward(size_t count, size_t size, size_t inner, const T* p,
                                               const T* label, const T* slopes, T* out) {
  EACH(i, count) {
    const size_t position = position_of(i, size, inner);
    const T hit = trunc(label[position]) == (T)class_at(i, size, inner) ? 1 : 0;
    const T slope = slopes[position];
    out[i] = slope == 0 ? (T)0 : (hit - p[i]) * slope;
  }
}
