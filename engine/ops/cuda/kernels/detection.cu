// Detections among the boxes of many priors. A group is an image and a class with boxes, the classes
// of an image side by side, without `background` (-1: there is none); it has `most` places for
// candidates, by falling score, of equal ones the lower prior first.
// places: (groups, most) the prior of each candidate plus 1, behind the last one 0.
// scores: (groups, most).  boxes: (groups, most, 4).  conf: (images, priors, classes).

#include "common.cuh"
#include "boxes.cuh"
#include "division.cuh"

// Each score above the threshold looks how many are before it. add_places: 0 at first.
extern "C" __global__ void rank_candidates(size_t count, size_t priors, size_t classes,
                                           int background, size_t most, T threshold,
                                           const T* conf, int* add_places) {
  const size_t labels = background < 0 ? classes : classes - 1;
  EACH(i, count) {
    const Division at = divide(i, classes), image = divide(at.quotient, priors);
    const size_t label = at.rest, prior = image.rest;
    const T score = conf[i];
    if ((long long)label == background || !(score > threshold)) continue;
    const T* others = conf + image.quotient * priors * classes + label;
    size_t rank = 0;
    for (size_t other = 0; other < priors && rank < most; ++other) {
      const T theirs = others[other * classes];
      if (theirs > score || (theirs == score && other < prior)) ++rank;
    }
    const size_t group = image.quotient * labels + label - (background >= 0 && label > background);
    if (rank < most) add_places[group * most + rank] = (int)prior + 1;
  }
}

// For each candidate its score and box. prior: (2, priors, 4) boxes and variances.  loc: (images,
// priors, 4), or (images, priors, classes, 4) where it is not shared.
extern "C" __global__ void decode_candidates(size_t count, size_t priors, size_t classes,
                                             int background, size_t most, bool shared, int code,
                                             bool in_target, const int* places, const T* loc,
                                             const T* conf, const T* prior, T* scores, T* boxes) {
  const size_t labels = background < 0 ? classes : classes - 1;
  EACH(i, count) {
    Box box = {{0, 0, 0, 0}};
    T score = 0;
    if (places[i]) {
      const Division group = divide(divide(i, most).quotient, labels);
      const size_t label = group.rest + (background >= 0 && group.rest >= (size_t)background);
      const size_t place = (size_t)places[i] - 1, row = group.quotient * priors + place;
      score = conf[row * classes + label];
      const T* location = loc + (shared ? row : row * classes + label) * 4;
      box = decode(box_at(prior + place * 4), prior + (priors + place) * 4, location, code,
                   in_target);
    }
    scores[i] = score;
    for (int side = 0; side < 4; ++side) boxes[i * 4 + side] = box.side[side];
  }
}

// By rows, the groups: the next candidate that overlaps none of those that stay too much stays.
// kept: (groups, most).  highest: (groups, most) the largest overlap with one that stays.
extern "C" __global__ void suppress(size_t count, size_t most, T nms_threshold, T eta,
                                    const int* places, const T* boxes, unsigned char* kept,
                                    T* highest) {
  EACH_ROW(group, count) {
    const int* of_group = places + group * most;
    const T* from = boxes + group * most * 4;
    T* worst = highest + group * most;
    for (size_t i = threadIdx.x; i < most; i += BLOCK) {
      worst[i] = 0;
      kept[group * most + i] = 0;
    }
    T limit = nms_threshold;
    for (size_t i = 0; i < most && of_group[i]; ++i) {
      __syncthreads();  // the overlaps of this one are there
      if (!(worst[i] <= limit)) continue;
      if (threadIdx.x == 0) kept[group * most + i] = 1;
      const Box box = box_at(from + i * 4);
      for (size_t other = i + 1 + threadIdx.x; other < most && of_group[other]; other += BLOCK) {
        const T overlap = overlap_of(box, box_at(from + other * 4));
        if (worst[other] == worst[other] && !(overlap <= worst[other])) worst[other] = overlap;
      }
      if (eta < 1 && limit > (T)0.5) limit *= eta;
    }
  }
}
