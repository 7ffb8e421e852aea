// Accuracy. x: (outer, size, inner) scores, a position being one of outer * inner; label:
// (positions).
// found: (positions), 2 class + 1 where the label is among the top_k best scores, 2 class where it
// is not, -1 where the position counts for nothing.

#include "common.cuh"
#include "labels.cuh"
#include "positions.cuh"
#include "loss_sums.cuh"

// Fills `found`, a thread per position. A score as good as the label's counts as better than it,
// and so does one that is nan.
extern "C" __global__ void accuracy_positions(size_t positions, size_t size, size_t inner,
                                              const T* x, const T* label, bool ignores, int ignore,
                                              unsigned long long number,
                                              unsigned long long* add_watch, size_t top_k,
                                              int* found) {
  EACH(position, positions) {
    const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
    int what = -1;
    if (own >= 0) {
      const T* scores = x + start_of(position, size, inner);
      const T score = scores[own * inner];
      size_t better = 0;  // the label's own counted
      for (size_t k = 0; k < size; ++k) better += !(scores[k * inner] < score);
      what = 2 * (int)own + (better <= top_k);
    }
    found[position] = what;
  }
}

// As accuracy_positions, a block per position.
extern "C" __global__ void accuracy_rows(size_t positions, size_t size, size_t inner, const T* x,
                                         const T* label, bool ignores, int ignore,
                                         unsigned long long number, unsigned long long* add_watch,
                                         size_t top_k, int* found) {
  EACH_ROW(position, positions) {
    const long long own = class_of(label, position, size, ignores, ignore, number, add_watch);
    const T* scores = x + start_of(position, size, inner);
    const T score = scores[(own < 0 ? 0 : own) * inner];
    T better = 0;
    for (size_t k = threadIdx.x; k < size; k += BLOCK) better += !(scores[k * inner] < score);
    better = block_sum(better);
    if (threadIdx.x == 0) found[position] = own < 0 ? -1 : 2 * (int)own + (better <= (T)top_k);
  }
}

// How many positions are right, by parts: out: (parts), divided by what divisor_of gives.
extern "C" __global__ void count_right(size_t parts, size_t positions, const int* found, T divisor,
                                       const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(position, part, parts, positions)
      sum += found[position] >= 0 && found[position] % 2 ? 1 : 0;
    give_sum(sum, part, divisor, valid, out);
  }
}

// How many positions a class has, and how many of them are right, by parts. rows: classes * parts;
// hits, counts: (classes, parts).
extern "C" __global__ void count_by_class(size_t rows, size_t parts, size_t positions,
                                          const int* found, T* hits, T* counts) {
  EACH_ROW(row, rows) {
    const int own = (int)(row / parts);
    T right = 0, all = 0;
    EACH_OF_PART(position, row % parts, parts, positions) {
      const int what = found[position];
      if (what >= 0 && what / 2 == own) {
        all += 1;
        right += what % 2;
      }
    }
    right = block_sum(right);
    all = block_sum(all);
    if (threadIdx.x == 0) {
      hits[row] = right;
      counts[row] = all;
    }
  }
}

// The part of each class that is right, 0 where it has no positions. hits, counts: (classes,
// parts);
// out: (classes).
extern "C" __global__ void part_by_class(size_t classes, size_t parts, const T* hits,
                                         const T* counts, T* out) {
  EACH(own, classes) {
    T right = 0, all = 0;
    for (size_t i = own * parts; i < (own + 1) * parts; ++i) {
      right += hits[i];
      all += counts[i];
    }
    out[own] = all > 0 ? right / all : (T)0;
  }
}
