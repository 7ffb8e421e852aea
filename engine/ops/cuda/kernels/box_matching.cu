// Matching the boxes of N images with rows of the truth. P: priors, L: locations of each, one or
// one per class, G: groups that are matched for themselves, 1 or L. locations: (N, P, L, 4);
// priors: (2, P, 4), boxes and variances; truth: (rows, 8); owner: (rows), the image of each row,
// -1 for none; spans: (N, 2), from an image's first row to behind its last; overlaps: (rows, P), 0
// where boxes do not meet; matches: (N, G, P), rows, FREE or IGNORED. By prior, the boxes are the
// priors, else those that the locations mean.

#include "common.cuh"
#include "division.cuh"
#include "boxes.cuh"

#define LEAST_OVERLAP ((T)1e-6)  // below, boxes do not meet: SSD's constant

// The box of a prior in an image and group.
__device__ inline Box candidate(size_t image, size_t group, size_t prior, size_t priors_count,
                                size_t location_classes, bool by_prior, int code, bool in_target,
                                const T* locations, const T* priors) {
  const Box own = box_at(priors + 4 * prior);
  if (by_prior) return own;
  const size_t place = (image * priors_count + prior) * location_classes + group;
  return decode(own, priors + 4 * (priors_count + prior), locations + 4 * place, code, in_target);
}

// Which image a row belongs to: -1 where it is empty, or difficult and these are skipped, and where
// it is wrong, of which the watch is told. limit: what classes are below. out: owner.
extern "C" __global__ void row_images(size_t rows, size_t images, T limit, long long background,
                                      bool skips_difficult, const T* truth,
                                      unsigned long long number, unsigned long long* add_watch,
                                      int* out) {
  EACH(row, rows) {
    const T* at = truth + row * TRUTH;
    const T image = trunc(at[0]), own = trunc(at[1]);
    out[row] = -1;
    if (image == -1) continue;
    int wrong = -1;
    for (int side = 6; side > 2; --side)
      if (!(at[side] - at[side] == 0)) wrong = side;
    if (!(own >= 0 && own < limit && own != (T)background)) wrong = 1;
    if (!(image >= 0 && image < (T)images)) wrong = 0;
    if (wrong >= 0)
      report(add_watch, number, row * TRUTH + wrong, at[wrong]);
    else if (!skips_difficult || at[7] == 0)
      out[row] = (int)image;
  }
}

// out: spans; an image without rows has an empty one.
extern "C" __global__ void image_spans(size_t images, size_t rows, const int* owner, int* out) {
  EACH(image, images) {
    int first = 0, behind = 0;
    for (size_t row = 0; row < rows; ++row)
      if (owner[row] == (int)image) {
        if (behind == 0) first = (int)row;
        behind = (int)row + 1;
      }
    out[2 * image] = first;
    out[2 * image + 1] = behind;
  }
}

// out: overlaps; 0 of rows without an image.
extern "C" __global__ void box_overlaps(size_t count, size_t priors_count, size_t location_classes,
                                        bool by_prior, bool skips_crossing, int code,
                                        bool in_target, const T* locations, const T* priors,
                                        const T* truth, const int* owner, T* out) {
  EACH(i, count) {
    const Division at = divide(i, priors_count);
    T overlap = 0;
    if (owner[at.quotient] >= 0) {
      const size_t group =
          by_prior || location_classes == 1 ? 0 : (size_t)class_of_row(truth, at.quotient);
      const Box box = candidate(owner[at.quotient], group, at.rest, priors_count, location_classes,
                                by_prior, code, in_target, locations, priors);
      if (!skips_crossing || !crosses(box))
        overlap = overlap_of(box_at(truth + at.quotient * TRUTH + 3), box);
    }
    out[i] = overlap > LEAST_OVERLAP ? overlap : (T)0;
  }
}

// By rows: the prior that overlaps a row most, and how much. best, most: (rows).
extern "C" __global__ void best_priors(size_t rows, size_t priors_count, const T* overlaps,
                                       int* best, T* most) {
  EACH_ROW(row, rows) {
    Best one = {0, -1};
    for (size_t prior = threadIdx.x; prior < priors_count; prior += BLOCK)
      one = better(one, {overlaps[row * priors_count + prior], (long long)prior});
    one = block_best(one);
    if (threadIdx.x == 0) {
      best[row] = (int)one.place;
      most[row] = one.place < 0 ? (T)0 : one.value;
    }
  }
}

// out: matches before any is found: all of an image without rows is IGNORED, and boxes that leave
// the image are where they are to be skipped.
extern "C" __global__ void begin_matches(size_t count, size_t priors_count, size_t groups,
                                         size_t location_classes, bool by_prior,
                                         bool skips_crossing, int code, bool in_target,
                                         const T* locations, const T* priors, const int* spans,
                                         int* out) {
  EACH(i, count) {
    const Division at = divide(i, priors_count);
    const Division whole = divide(at.quotient, groups);
    bool ignored = spans[2 * whole.quotient] == spans[2 * whole.quotient + 1];
    if (!ignored && skips_crossing)
      ignored = crosses(candidate(whole.quotient, whole.rest, at.rest, priors_count,
                                  location_classes, by_prior, code, in_target, locations, priors));
    out[i] = ignored ? IGNORED : FREE;
  }
}

// By rows, one for each image: of all pairs that overlap, the best one is matched, then the best of
// what is left; of equal ones that with the lower prior, then the lower row. add_best, add_most: of
// best_priors, kept true of what is left; 0 of rows that are matched.
extern "C" __global__ void match_best(size_t images, size_t rows, size_t priors_count,
                                      size_t groups, const T* truth, const int* owner,
                                      const int* spans, const T* overlaps, int* add_best,
                                      T* add_most, int* add_matches) {
  EACH_ROW(image, images) {
    const int first = spans[2 * image], behind = spans[2 * image + 1];
    for (int turn = first; turn < behind; ++turn) {
      Best one = {0, -1};
      for (int row = first + threadIdx.x; row < behind; row += BLOCK)
        if (owner[row] == (int)image && add_most[row] > 0)
          one = better(one, {add_most[row], (long long)add_best[row] * (long long)rows + row});
      one = block_best(one);
      if (one.place < 0) break;
      const size_t prior = one.place / rows, row = one.place % rows;
      const size_t group = groups == 1 ? 0 : (size_t)class_of_row(truth, row);
      int* matched = add_matches + (image * groups + group) * priors_count;
      if (threadIdx.x == 0) {
        matched[prior] = (int)row;
        add_most[row] = 0;
      }
      __syncthreads();
      for (int other = first; other < behind; ++other) {
        if (owner[other] != (int)image || !(add_most[other] > 0) || add_best[other] != (int)prior ||
            (groups > 1 && (size_t)class_of_row(truth, other) != group))
          continue;
        Best next = {0, -1};
        for (size_t place = threadIdx.x; place < priors_count; place += BLOCK)
          if (matched[place] == FREE)
            next = better(next, {overlaps[other * priors_count + place], (long long)place});
        next = block_best(next);
        __syncthreads();  // all have looked at what changes now
        if (threadIdx.x == 0) {
          add_best[other] = (int)next.place;
          add_most[other] = next.place < 0 ? (T)0 : next.value;
        }
        __syncthreads();
      }
    }
    __syncthreads();
  }
}

// Boxes that are free yet: per_prediction, each finds the row that it overlaps most, from
// `threshold` on; of the rest, those whose overlap is `most_allowed` or more are IGNORED.
extern "C" __global__ void match_rest(size_t count, size_t priors_count, size_t groups,
                                      bool per_prediction, T threshold, T most_allowed,
                                      const T* truth, const int* owner, const int* spans,
                                      const T* overlaps, int* add_matches) {
  EACH(i, count) {
    if (add_matches[i] != FREE) continue;
    const Division at = divide(i, priors_count);
    const Division whole = divide(at.quotient, groups);
    Best best = {0, -1};
    bool any = false;
    for (int row = spans[2 * whole.quotient]; row < spans[2 * whole.quotient + 1]; ++row) {
      if (owner[row] != (int)whole.quotient) continue;
      if (groups > 1 && (size_t)class_of_row(truth, row) != whole.rest) continue;
      any = true;
      best = better(best, {overlaps[row * priors_count + at.rest], (long long)row});
    }
    if (per_prediction && best.value > 0 && best.value >= threshold)
      add_matches[i] = (int)best.place;
    else if (any && best.value >= most_allowed)
      add_matches[i] = IGNORED;
  }
}
