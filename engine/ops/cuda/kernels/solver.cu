// What a solver asks of the device in each pass.

#include "common.cuh"

// Reports a loss that is nan or inf, as of an iteration, where `stop` says so; and notes the pass
// where the watch is set and nothing is noted yet: something went wrong in this pass.
// which: (2,) the iteration, and the pass.  loss: (1,)  add_watch: (3,), see Watch.
// add_first: (1,) the pass noted, or 0
extern "C" __global__ void watch_pass(size_t count, int stop, unsigned long long number,
                                      const unsigned long long* which, const T* loss,
                                      unsigned long long* add_watch,
                                      unsigned long long* add_first) {
  EACH(i, count) {
    if (stop && !isfinite(loss[i])) report(add_watch, number, which[0], loss[i]);
    if (*add_watch && !*add_first) *add_first = which[1];
  }
}
