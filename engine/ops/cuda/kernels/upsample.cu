// Planes made larger. x: (planes, height, width).

#include "common.cuh"
#include "division.cuh"
#include "labels.cuh"

// out: (planes, height * scale, width * scale), each pixel of x a square of them.
extern "C" __global__ void upsample(size_t count, size_t width, size_t scale, const T* x, T* out) {
  EACH(i, count) {
    const Division row = divide(i, width * scale);
    const size_t above = divide(row.quotient, scale).quotient;  // rows of all planes: of as many
    out[i] = x[above * width + divide(row.rest, scale).quotient];
  }
}

// dy: like out above.  out: like x, the sum over each square, row by row.
extern "C" __global__ void upsample_backward(size_t count, size_t width, size_t scale, const T* dy,
                                             T* out) {
  EACH(i, count) {
    const Division row = divide(i, width);
    const T* from = dy + (row.quotient * width * scale + row.rest) * scale;
    T sum = 0;
    for (size_t down = 0; down < scale; ++down)
      for (size_t right = 0; right < scale; ++right) sum += from[down * width * scale + right];
    out[i] = sum;
  }
}

// Of those below: mask: (planes, size), where each pixel of x goes in the `out_size` of its plane;
// ignores, ignore, number and add_watch are for class_of of labels.cuh: a pixel that would go
// beyond goes nowhere, and the watch is told. owners: (planes, out_size), 1 + which pixel comes
// there, 0 where none does.

// add_owners: zeros before.
extern "C" __global__ void unpool_owners(size_t count, size_t size, size_t out_size, const T* mask,
                                         bool ignores, int ignore, unsigned long long number,
                                         unsigned long long* add_watch, unsigned* add_owners) {
  EACH(i, count) {
    const long long place = class_of(mask, i, out_size, ignores, ignore, number, add_watch);
    if (place >= 0)
      atomicMax(add_owners + divide(i, size).quotient * out_size + place, (unsigned)i + 1);
  }
}

// out: (planes, out_size)
extern "C" __global__ void unpool(size_t count, const unsigned* owners, const T* x, T* out) {
  EACH(i, count) out[i] = owners[i] ? x[owners[i] - 1] : (T)0;
}

// out: (planes, size), the gradient of x.
extern "C" __global__ void unpool_backward(size_t count, size_t size, size_t out_size,
                                           const T* mask, bool ignores, int ignore,
                                           unsigned long long number,
                                           unsigned long long* add_watch, const T* dy, T* out) {
  EACH(i, count) {
    const long long place = class_of(mask, i, out_size, ignores, ignore, number, add_watch);
    out[i] = place >= 0 ? dy[divide(i, size).quotient * out_size + place] : (T)0;
  }
}
