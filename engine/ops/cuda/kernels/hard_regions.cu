// The regions of each image with the largest losses. A position is one of (regions, inner).
// rois: (regions, 5, inner), the first of the five the image; hard: (regions, inner).

#include "common.cuh"
#include "labels.cuh"

// nan as the largest.
__device__ inline T hardness(T loss) { return loss != loss ? (T)INFINITY : loss; }

// Whether each position is among the `most` of its image, of equal ones the first; `labels` there,
// elsewhere `ignore`. losses, labels, out: (regions, inner).  number, add_watch: who refuses a
// region of no image (Watch.add), which is never chosen.
extern "C" __global__ void choose_hard(size_t positions, size_t inner, size_t images, const T* rois,
                                       unsigned long long number, unsigned long long* add_watch,
                                       const T* losses, const T* labels, size_t most, T ignore,
                                       unsigned char* hard, T* out) {
  EACH_ROW(position, positions) {
    const size_t at = position / inner * 5 * inner + position % inner;
    const long long image = class_of(rois, at, images, false, 0, number, add_watch);
    const T own = hardness(losses[position]);
    T before = 0;
    for (size_t other = threadIdx.x; other < positions; other += BLOCK) {
      const T loss = hardness(losses[other]);
      const bool first = loss > own || (loss == own && other < position);
      if (first && trunc(rois[other / inner * 5 * inner + other % inner]) == (T)image) before += 1;
    }
    before = block_sum(before);
    if (threadIdx.x == 0) {
      const bool chosen = image >= 0 && before < (T)most;
      hard[position] = chosen;
      out[position] = chosen ? labels[position] : ignore;
    }
  }
}

// The weights of chosen positions, 0 elsewhere. weights, out: (regions, size, inner).
extern "C" __global__ void keep_hard(size_t count, size_t size, size_t inner,
                                     const unsigned char* hard, const T* weights, T* out) {
  EACH(i, count) {
    const size_t position = i / (size * inner) * inner + i % inner;
    out[i] = hard[position] ? weights[i] : (T)0;
  }
}
