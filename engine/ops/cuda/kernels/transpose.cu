// Elements in another order of axes. x: in its own order of axes.  out: in that of the result.

#include "common.cuh"
#include "division.cuh"

// axes: (2, number): for each axis of out its size, and the step from one to the next in x.
extern "C" __global__ void transpose(size_t count, int number, const long long* axes, const T* x,
                                     T* out) {
  const long long *size = axes, *step = axes + number;
  EACH(i, count) {
    size_t left = i, place = 0;
    for (int axis = number - 1; axis > 0; --axis) {
      const Division at = divide(left, size[axis]);
      place += at.rest * step[axis];
      left = at.quotient;
    }
    out[i] = x[place + left * step[0]];
  }
}

// The same where the innermost axes of x and out differ, by tiles of 32 x 32 elements, through
// shared memory so that both are walked along theirs. A row is one of out's innermost axis, `rows`
// long with steps of `from` in x; a column one of x's, `columns` long with steps of `to` in out;
// row_tiles and column_tiles: tiles along each. axes: (3, number): of the other axes the sizes, the
// steps in x and those in out.
extern "C" __global__ void transpose_tiles(size_t tiles, size_t rows, size_t columns, size_t from,
                                           size_t to, size_t row_tiles, size_t column_tiles,
                                           int number, const long long* axes, const T* x, T* out) {
  __shared__ T tile[32][33];  // one more, so that a column lies in banks of its own
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32, step = BLOCK / 32;
  EACH_ROW(index, tiles) {
    const Division whole = divide(index, column_tiles), part = divide(whole.quotient, row_tiles);
    const size_t column = whole.rest * 32, row = part.rest * 32;
    size_t left = part.quotient, source = row * from + column, target = column * to + row;
    for (int axis = number - 1; axis >= 0; --axis) {
      const Division at = divide(left, axes[axis]);
      source += at.rest * axes[number + axis];
      target += at.rest * axes[2 * number + axis];
      left = at.quotient;
    }
    __syncthreads();  // the tile before has been read
    for (int k = first; k < 32; k += step)
      if (row + k < rows && column + lane < columns) tile[k][lane] = x[source + k * from + lane];
    __syncthreads();
    for (int k = first; k < 32; k += step)
      if (column + k < columns && row + lane < rows) out[target + k * to + lane] = tile[lane][k];
  }
}
