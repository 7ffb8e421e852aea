// Elements that go elsewhere as they are.

#include "common.cuh"
#include "affine.cuh"
#include "division.cuh"
#include "map.cuh"

// A run of `width` from each row to another: count is rows * width. x: rows of `from_row` elements,
// the run begins at `from`.  add_out: rows of `to_row`, it goes to `to`; the others stay.
extern "C" __global__ void copy_columns(size_t count, size_t width, size_t from_row, size_t from,
                                        size_t to_row, size_t to, const T* x, T* add_out) {
  if ((width | from_row | from | to_row | to) % LANES == 0 && aligned(x, add_out)) {
    EACH(i, count / LANES) {
      const Division at = divide(i, width / LANES);
      ((Vector*)add_out)[at.quotient * (to_row / LANES) + to / LANES + at.rest] =
          ((const Vector*)x)[at.quotient * (from_row / LANES) + from / LANES + at.rest];
    }
  } else {
    EACH(i, count) {
      const Division at = divide(i, width);
      add_out[at.quotient * to_row + to + at.rest] = x[at.quotient * from_row + from + at.rest];
    }
  }
}

// The same of a gradient, dy, to rows without gaps, as that of what a ReLU of this slope read. y:
// its results, like out.
extern "C" __global__ void rectified_columns(size_t count, size_t width, size_t from_row,
                                             size_t from, T slope, const T* dy, const T* y,
                                             T* out) {
  if ((width | from_row | from) % LANES == 0 && aligned(dy, y, out)) {
    EACH(i, count / LANES) {
      const Division at = divide(i, width / LANES);
      const size_t place = at.quotient * (from_row / LANES) + from / LANES + at.rest;
      const Vector gradient = ((const Vector*)dy)[place], result = ((const Vector*)y)[i];
      Vector made;
      for (int lane = 0; lane < LANES; ++lane)
        made.lane[lane] = rectified_gradient(gradient.lane[lane], result.lane[lane], slope);
      ((Vector*)out)[i] = made;
    }
  } else {
    EACH(i, count) {
      const Division at = divide(i, width);
      out[i] = rectified_gradient(dy[at.quotient * from_row + from + at.rest], y[i], slope);
    }
  }
}

// x: (outer, inner).  out: (outer, size, inner), x again and again; run: size * inner.
extern "C" __global__ void tile(size_t count, size_t run, size_t inner, const T* x, T* out) {
  EACH(i, count) {
    const Division at = divide(i, run);
    out[i] = x[at.quotient * inner + divide(at.rest, inner).rest];
  }
}

// The piece of x. sizes: (3, axes): the sizes of x, the starts and the sizes of the piece.
extern "C" __global__ void crop(size_t count, int axes, const long long* sizes, const T* x,
                                T* out) {
  const long long *whole = sizes, *start = sizes + axes, *piece = sizes + 2 * axes;
  EACH(i, count) {
    size_t left = i, place = 0, step = 1;
    for (int axis = axes - 1; axis >= 0; --axis) {
      const Division at = divide(left, piece[axis]);
      place += (at.rest + start[axis]) * step;
      step *= whole[axis];
      left = at.quotient;
    }
    out[i] = x[place];
  }
}

// out: like x, dy in the piece and 0 around it.
extern "C" __global__ void crop_backward(size_t count, int axes, const long long* sizes,
                                         const T* dy, T* out) {
  const long long *whole = sizes, *start = sizes + axes, *piece = sizes + 2 * axes;
  EACH(i, count) {
    size_t left = i, place = 0, step = 1;
    bool inside = true;
    for (int axis = axes - 1; axis >= 0; --axis) {
      const Division at = divide(left, whole[axis]);
      const long long along = (long long)at.rest - start[axis];
      inside = inside && along >= 0 && along < piece[axis];
      place += along * step;
      step *= piece[axis];
      left = at.quotient;
    }
    out[i] = inside ? dy[place] : (T)0;
  }
}
