// Which priors of N images count for the classes, and which class each should be. P: priors, C:
// classes, G: groups. locations: (N, P, 4); scores: (N, P, C), probabilities where they are not
// logistic; priors: (2, P, 4), boxes and variances; truth: (rows, 8); matches: (N, G, P), rows of
// the truth, FREE or IGNORED; hardness: (N, P); out: (N, P), classes, C for none, -1 where the
// prior does not count. background: the class of negatives; agnostic: that of all objects, -1: each
// its own.

#include "common.cuh"
#include "division.cuh"
#include "loss_sums.cuh"
#include "boxes.cuh"
#include "box_losses.cuh"

#define LEAST_AREA ((T)1e-5)  // of boxes that pass the suppression: SSD's constant

__device__ inline int target_of(const T* truth, long long row, int agnostic) {
  return agnostic < 0 ? class_of_row(truth, row) : agnostic;
}

// Without mining: every prior counts, with the class of the last group that it is matched in.
extern "C" __global__ void take_all(size_t count, size_t priors_count, size_t groups,
                                    int background, int agnostic, const T* truth,
                                    const int* matches, int* out) {
  EACH(i, count) {
    const Division at = divide(i, priors_count);
    int target = background;
    for (size_t group = 0; group < groups; ++group) {
      const int row = matches[(at.quotient * groups + group) * priors_count + at.rest];
      if (row >= 0) target = target_of(truth, row, agnostic);
    }
    out[i] = target;
  }
}

// The cross entropy of the class of each prior, with its location's loss if `located`; infinite
// where that is nan. G is 1. out: hardness.
extern "C" __global__ void box_hardness(size_t count, size_t priors_count, size_t classes,
                                        int background, bool logistic, bool located, bool smooth,
                                        bool by_prior, bool inside, int code, bool in_target,
                                        const T* locations, const T* scores, const T* priors,
                                        const T* truth, const int* matches, T* out) {
  EACH(i, count) {
    const int row = matches[i];
    const int own = row < 0 ? background : class_of_row(truth, row);
    const T* given = scores + i * classes;
    T sum = 0;
    if (logistic)
      for (size_t k = 0; k < classes; ++k)
        sum += logistic_loss_of(given[k], (int)k == own ? (T)1 : (T)0);
    else
      sum = -log(at_least(given[own], SMALLEST));
    if (located && row >= 0) {
      T values[4], slopes[4];
      location_difference(i % priors_count, priors_count, by_prior, inside, code, in_target,
                          locations + 4 * i, priors, truth, row, values, slopes);
      for (int side = 0; side < 4; ++side) sum += location_loss_of(values[side], smooth);
    }
    out[i] = sum == sum ? sum : (T)INFINITY;
  }
}

// The bits of a number that is not negative, which are ordered as the numbers are.
__device__ inline u64 ordered_bits(float x) { return x > 0 ? __float_as_uint(x) : 0u; }
__device__ inline u64 ordered_bits(double x) {
  return x > 0 ? (u64)__double_as_longlong(x) : 0ull;
}

// How many threads of the block before this one say yes, and how many all of them. All must call.
struct Rank {
  int before, all;
};

__device__ inline Rank block_rank(bool yes) {
  __shared__ int counts[32];
  const unsigned bits = __ballot_sync(~0u, yes);
  __syncthreads();  // those of an earlier call have been read
  if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = __popc(bits);
  __syncthreads();
  Rank rank = {__popc(bits & ((1u << threadIdx.x % 32) - 1)), 0};
  for (int warp = 0; warp < BLOCK / 32; ++warp) {
    if (warp < (int)(threadIdx.x / 32)) rank.before += counts[warp];
    rank.all += counts[warp];
  }
  return rank;
}

// How many priors of an image are among the candidates, with bits of `least` or more.
__device__ inline size_t count_from(u64 least, size_t priors_count, const T* hardness,
                                    const int* state) {
  T found = 0;  // exact: there are fewer than 2^24
  for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK)
    found += state[prior] && ordered_bits(hardness[prior]) >= least ? 1 : 0;
  return (size_t)block_sum(found);
}

// Keeps the `most` hardest candidates, of equal ones the lower. state: (P), not 0 of candidates;
// each thread changes what it alone looks at.
__device__ inline void keep_hardest(size_t most, size_t priors_count, const T* hardness,
                                    int* state) {
  if (count_from(0, priors_count, hardness, state) <= most) return;
  u64 limit = 0;  // the bits of the last one that stays
  for (int bit = 8 * sizeof(T) - 2; bit >= 0; --bit)
    if (count_from(limit | 1ull << bit, priors_count, hardness, state) >= most)
      limit |= 1ull << bit;
  size_t equal = most - count_from(limit + 1, priors_count, hardness, state);
  for (size_t begin = 0; begin < priors_count; begin += BLOCK) {
    const size_t prior = begin + threadIdx.x;
    const bool candidate = prior < priors_count && state[prior];
    const u64 bits = candidate ? ordered_bits(hardness[prior]) : 0;
    const Rank rank = block_rank(candidate && bits == limit);
    if (candidate && (bits < limit || (bits == limit && (size_t)rank.before >= equal)))
      state[prior] = 0;
    equal -= equal < (size_t)rank.all ? equal : (size_t)rank.all;
  }
}

// The box by which candidates are compared.
__device__ inline Box compared(size_t image, size_t prior, size_t priors_count, bool by_prior,
                               int code, bool in_target, const T* locations, const T* priors) {
  const Box own = box_at(priors + 4 * prior);
  if (by_prior) return own;
  return decode(own, priors + 4 * (priors_count + prior),
                locations + 4 * (image * priors_count + prior), code, in_target);
}

// By rows, one for each image: `most` candidates, the hardest first, of which none covers another
// one by more than `threshold`, where that is above 0; then only the top_k hardest are candidates,
// all if top_k is negative. With hard examples `size` of all priors, matched or not; else `ratio`
// times as many of the free ones as are matched. G is 1. add_matches: those that are not mined
// become FREE. state: (N, P), for the kernel's own use.
extern "C" __global__ void mine_boxes(size_t images, size_t priors_count, bool hard, size_t size,
                                      T ratio, T threshold, long long top_k, bool by_prior,
                                      int code, bool in_target, int background, int agnostic,
                                      const T* locations, const T* priors, const T* truth,
                                      const T* hardness, int* add_matches, int* add_state,
                                      int* out) {
  EACH_ROW(image, images) {
    const T* own_hardness = hardness + image * priors_count;
    int* matches = add_matches + image * priors_count;
    int* state = add_state + image * priors_count;
    int* targets = out + image * priors_count;
    T matched = 0;
    for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK) {
      state[prior] = hard || matches[prior] == FREE ? 1 : 0;
      matched += matches[prior] >= 0 ? 1 : 0;
    }
    matched = block_sum(matched);
    const float wanted = (float)matched * (float)ratio;
    size_t most = size;
    if (!hard) most = wanted < (float)priors_count ? (size_t)wanted : priors_count;
    if (threshold > 0) {
      if (top_k >= 0) keep_hardest(top_k, priors_count, own_hardness, state);
      for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK)
        if (state[prior] && area_of(compared(image, prior, priors_count, by_prior, code, in_target,
                                             locations, priors)) < LEAST_AREA)
          state[prior] = 0;
      for (size_t turn = 0;; ++turn) {
        Best one = {0, -1};
        for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK)
          if (state[prior] == 1) one = better(one, {own_hardness[prior], (long long)prior});
        one = block_best(one);
        if (one.place < 0) break;
        const Box best = compared(image, one.place, priors_count, by_prior, code, in_target,
                                  locations, priors);
        for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK) {
          if (state[prior] != 1) continue;
          if (turn >= most)
            state[prior] = 0;
          else if ((long long)prior == one.place)
            state[prior] = 2;
          else if (overlap_of(best, compared(image, prior, priors_count, by_prior, code, in_target,
                                             locations, priors)) > threshold)
            state[prior] = 0;
        }
      }
    } else {
      keep_hardest(most, priors_count, own_hardness, state);
    }
    for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK) {
      const int row = matches[prior];
      const bool chosen = state[prior] != 0;
      targets[prior] = row == FREE && chosen ? background : -1;
      if (row < 0) continue;
      if (!hard || chosen)
        targets[prior] = target_of(truth, row, agnostic);
      else
        matches[prior] = FREE;
    }
  }
}
