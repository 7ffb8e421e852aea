// The loss scale: what gradients are multiplied by to stay within fp16.
//
// state: (3,) the scale; the updates since it changed; the updates that were skipped.

#include "common.cuh"
#include "map.cuh"

// The gradient of a top with a loss weight. out: (count,)
extern "C" __global__ void scaled_loss(size_t count, double weight, const double* state, T* out) {
  EACH(i, count) out[i] = (T)(weight * state[0]);
}

// diff: (count,)  add_found: (1,) becomes 1 where nan or inf is among them, whoever sees it.
extern "C" __global__ void find_overflow(size_t count, const T* diff, unsigned* add_found) {
  const size_t vectors = aligned(diff) ? count / LANES : 0;
  bool good = true;
  EACH(v, vectors) {
    const Vector read = ((const Vector*)diff)[v];
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) good = good && isfinite(read.lane[lane]);
  }
  EACH(rest, count - vectors * LANES) good = good && isfinite(diff[vectors * LANES + rest]);
  if (!good) *add_found = 1;
}

// What find_overflow found decides on the update and on the next scale; then it is 0 again.
//
// interval: updates after which the scale doubles, up to `most`.  least: the scale is not halved
// below it; nan and inf are then reported as of the `iteration`, (1,), where `stop` says so.
// add_watch: (3,), see Watch; where it is set, the state stays.  factor: (1,) what gradients are
// to be multiplied by; 0: they are not to be used.
extern "C" __global__ void settle(size_t count, double interval, double least, double most,
                                  int stop, unsigned long long number,
                                  const unsigned long long* iteration,
                                  unsigned* add_found, double* add_state,
                                  unsigned long long* add_watch, T* factor) {
  EACH(i, count) {
    const bool bad = *add_found;
    *add_found = 0;
    factor[i] = bad || *add_watch ? (T)0 : (T)(1 / add_state[0]);
    if (*add_watch) return;
    if (bad) {
      add_state[1] = 0;
      add_state[2] += 1;
      if (add_state[0] > least)
        add_state[0] /= 2;
      else if (stop)
        report(add_watch, number, *iteration, (T)add_state[0]);
    } else if (++add_state[1] >= interval) {
      add_state[1] = 0;
      if (add_state[0] < most) add_state[0] *= 2;
    }
  }
}
