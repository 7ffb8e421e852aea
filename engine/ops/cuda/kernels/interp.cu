// Planes in another size, by bilinear interpolation with the corners where they were. x: (planes,
// height, width), of which (read_h, read_w) pixels from (start_h, start_w) on count. out: (planes,
// out_h, out_w). Positions are exact: whole numbers of 1 / (out - 1).

#include "common.cuh"
#include "division.cuh"

// Between which of `read` pixels one of `out` lies, and the shares that it takes of them.
struct Place {
  size_t before, after;
  T near, far;

  __device__ Place(size_t i, size_t read, size_t out) {
    const size_t parts = out > 1 ? out - 1 : 1;
    const Division at = divide(i * (read - 1), parts);
    before = at.quotient;
    after = before + 1 < read ? before + 1 : before;
    far = (T)at.rest / (T)parts;
    near = (T)(parts - at.rest) / (T)parts;
  }
  // The share that a pixel gives.
  __device__ T of(size_t pixel) const {
    return (pixel == before ? near : (T)0) + (pixel == after ? far : (T)0);
  }
};

// The first one of `out` that lies at a pixel of `read` or behind it.
__device__ inline size_t first_from(size_t pixel, size_t read, size_t out) {
  if (pixel == 0) return 0;
  if (pixel >= read || out == 1) return out;  // a single one lies at pixel 0
  return divide(pixel * (out - 1) + read - 2, read - 1).quotient;
}

extern "C" __global__ void interp(size_t count, size_t height, size_t width, size_t start_h,
                                  size_t start_w, size_t read_h, size_t read_w, size_t out_h,
                                  size_t out_w, const T* x, T* out) {
  EACH(i, count) {
    const Division row = divide(i, out_w), plane = divide(row.quotient, out_h);
    const Place down(plane.rest, read_h, out_h), right(row.rest, read_w, out_w);
    const T* from = x + (plane.quotient * height + start_h) * width + start_w;
    const T *above = from + down.before * width, *below = from + down.after * width;
    out[i] = (above[right.before] * right.near + above[right.after] * right.far) * down.near +
             (below[right.before] * right.near + below[right.after] * right.far) * down.far;
  }
}

// The gradient of x: what the pixels that lie beside one took of it, row by row.
extern "C" __global__ void interp_backward(size_t count, size_t height, size_t width,
                                           size_t start_h, size_t start_w, size_t read_h,
                                           size_t read_w, size_t out_h, size_t out_w, const T* dy,
                                           T* out) {
  EACH(i, count) {
    const Division row = divide(i, width), plane = divide(row.quotient, height);
    T sum = 0;
    // of what is cropped away these are beyond all others
    const size_t y = plane.rest - start_h, x = row.rest - start_w;
    if (y < read_h && x < read_w) {
      const size_t bottom = first_from(y + 1, read_h, out_h);
      const size_t right = first_from(x + 1, read_w, out_w);
      const T* from = dy + plane.quotient * out_h * out_w;
      for (size_t r = first_from(y ? y - 1 : 0, read_h, out_h); r < bottom; ++r) {
        const T share = Place(r, read_h, out_h).of(y);
        T along = 0;
        for (size_t c = first_from(x ? x - 1 : 0, read_w, out_w); c < right; ++c)
          along += from[r * out_w + c] * Place(c, read_w, out_w).of(x);
        sum += along * share;
      }
    }
    out[i] = sum;
  }
}
