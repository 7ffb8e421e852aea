// The losses of N images with P priors, of L locations each, one or one per class, and C class
// scores. G: groups that were matched for themselves, 1 or L. locations: (N, P, L, 4); priors: (2,
// P, 4), boxes and variances; truth: (rows, 8); matches: (N, G, P), rows of the truth, or negative;
// scores: (N, P, C), of a softmax the probabilities; targets: (N, P), classes, C for none, or
// negative where the prior does not count. Forward kernels sum by parts: out: (parts), divided by
// what divisor_of gives. Backward kernels write the gradient of locations or scores, out, like
// these; dloss: (1), the gradient of the loss.

#include "common.cuh"
#include "division.cuh"
#include "loss_sums.cuh"
#include "focal.cuh"
#include "sigmoid.cuh"
#include "boxes.cuh"
#include "box_losses.cuh"

// How many priors are matched. count: of matches.
extern "C" __global__ void count_matches(size_t parts, size_t count, const int* matches, T divisor,
                                         const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T total = 0;
    EACH_OF_PART(i, part, parts, count) total += matches[i] >= 0 ? 1 : 0;
    give_sum(total, part, divisor, valid, out);
  }
}

// The weighted loss of the locations of all matches. count: of matches.
extern "C" __global__ void location_loss(size_t parts, size_t count, size_t priors_count,
                                         size_t groups, size_t location_classes, bool by_prior,
                                         bool inside, int code, bool in_target, bool smooth,
                                         T weight, const T* locations, const T* priors,
                                         const T* truth, const int* matches, T divisor,
                                         const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const int row = matches[i];
      if (row < 0) continue;
      const Division at = divide(i, priors_count);
      const size_t image = at.quotient / groups;
      const size_t own = location_classes == 1 ? 0 : (size_t)class_of_row(truth, row);
      const size_t place = (image * priors_count + at.rest) * location_classes + own;
      T values[4], slopes[4];
      location_difference(at.rest, priors_count, by_prior, inside, code, in_target,
                          locations + 4 * place, priors, truth, row, values, slopes);
      for (int side = 0; side < 4; ++side) sum += location_loss_of(values[side], smooth);
    }
    give_sum(sum * weight, part, divisor, valid, out);
  }
}

// The gradient of location_loss. count: of locations, 4 elements each.
extern "C" __global__ void location_loss_backward(size_t count, size_t priors_count, size_t groups,
                                                  size_t location_classes, bool by_prior,
                                                  bool inside, int code, bool in_target,
                                                  bool smooth, T weight, const T* locations,
                                                  const T* priors, const T* truth,
                                                  const int* matches, const T* dloss, T divisor,
                                                  const T* valid, T* out) {
  const T scale = dloss[0] * (weight / divisor_of(divisor, valid));
  EACH(i, count) {
    const Division at = divide(i, location_classes);
    const Division whole = divide(at.quotient, priors_count);
    const size_t group = groups == 1 ? 0 : at.rest;
    const int row = matches[(whole.quotient * groups + group) * priors_count + whole.rest];
    T values[4] = {0, 0, 0, 0}, slopes[4] = {0, 0, 0, 0};
    if (row >= 0 && (location_classes == 1 || (size_t)class_of_row(truth, row) == at.rest))
      location_difference(whole.rest, priors_count, by_prior, inside, code, in_target,
                          locations + 4 * i, priors, truth, row, values, slopes);
    for (int side = 0; side < 4; ++side) {
      T slope = values[side];
      if (smooth) slope = slope > 1 ? (T)1 : slope < -1 ? (T)-1 : slope;
      out[4 * i + side] = slope * slopes[side] * scale;
    }
  }
}

// Whether class k is what prior i should be; `several`: each class was matched for itself, and all
// that are matched are.
__device__ inline bool is_wanted(size_t i, size_t k, int target, bool several, size_t priors_count,
                                 size_t groups, const int* matches) {
  if (!several) return (int)k == target;
  const Division at = divide(i, priors_count);
  return matches[(at.quotient * groups + k) * priors_count + at.rest] >= 0;
}

// The cross entropy of the classes, or its focal form. count: of priors in all images.
extern "C" __global__ void box_class_loss(size_t parts, size_t count, size_t classes,
                                          size_t priors_count, size_t groups, bool logistic,
                                          bool several, bool focal, T alpha, T gamma,
                                          const T* scores, const int* targets, const int* matches,
                                          T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const int target = targets[i];
      if (target < 0) continue;
      const T* given = scores + i * classes;
      if (logistic)
        for (size_t k = 0; k < classes; ++k) {
          const bool hit = is_wanted(i, k, target, several, priors_count, groups, matches);
          sum += logistic_loss_of(given[k], hit ? (T)1 : (T)0);
        }
      else
        sum += focal ? focal_loss_of(given[target], alpha, gamma)
                     : -log(at_least(given[target], SMALLEST));
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The gradient of box_class_loss, of a softmax that of the scores its probabilities are made of.
// count: of scores.
extern "C" __global__ void box_class_loss_backward(size_t count, size_t classes,
                                                   size_t priors_count, size_t groups,
                                                   bool logistic, bool several, bool focal,
                                                   T alpha, T gamma, const T* scores,
                                                   const int* targets, const int* matches,
                                                   const T* dloss, T divisor, const T* valid,
                                                   T* out) {
  const T scale = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const Division at = divide(i, classes);
    const int target = targets[at.quotient];
    T gradient = 0;
    if (target >= 0) {
      const bool hit =
          is_wanted(at.quotient, at.rest, target, several, priors_count, groups, matches);
      gradient = (logistic ? sigmoid(scores[i]) : scores[i]) - (hit ? 1 : 0);
      if (focal) gradient *= -focal_slope(scores[at.quotient * classes + target], alpha, gamma);
    }
    out[i] = gradient * scale;
  }
}
