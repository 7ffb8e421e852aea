// The smooth L1 loss. Its terms are w_out f(d) with d = w_in (a - b), f(d) = square d^2 / 2 where
// |d| < 1 / square, else |d| - 1 / (2 square).
// a, b, w_in, w_out: (count), seen as (outer, size, inner). inside, outside: whether there are w_in
// and w_out; weights that are not there are 1.

#include "common.cuh"
#include "loss_sums.cuh"

// d of one element.
__device__ inline T difference(size_t i, const T* a, const T* b, bool inside, const T* w_in) {
  const T found = a[i] - b[i];
  return inside ? found * w_in[i] : found;
}

// One term; nan where d is nan.
__device__ inline T term(size_t i, T square, const T* a, const T* b, bool inside, const T* w_in,
                         bool outside, const T* w_out) {
  const T size = fabs(difference(i, a, b, inside, w_in));
  const T bent = size > 1 / square ? 1 / square : size;
  const T error = (size - bent / 2) * bent * square;
  return outside ? error * w_out[i] : error;
}

// All terms, by parts. out: (parts), divided by what divisor_of gives.
extern "C" __global__ void smooth_l1_loss(size_t parts, size_t count, T square, const T* a,
                                          const T* b, bool inside, const T* w_in, bool outside,
                                          const T* w_out, T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) sum += term(i, square, a, b, inside, w_in, outside, w_out);
    give_sum(sum, part, divisor, valid, out);
  }
}

// The terms of each position along the middle axis. out: (outer, inner).
extern "C" __global__ void smooth_l1_sums(size_t positions, size_t size, size_t inner, T square,
                                          const T* a, const T* b, bool inside, const T* w_in,
                                          bool outside, const T* w_out, T* out) {
  EACH(position, positions) {
    size_t i = position / inner * size * inner + position % inner;
    T sum = 0;
    for (size_t k = 0; k < size; ++k, i += inner)
      sum += term(i, square, a, b, inside, w_in, outside, w_out);
    out[position] = sum;
  }
}

// w_in w_out f'(d), weighted, and its negative; to_a, to_b: which are written. dloss: (1), the
// gradient of the loss; out_a, out_b: (count).
extern "C" __global__ void smooth_l1_backward(size_t count, T square, const T* a, const T* b,
                                              bool inside, const T* w_in, bool outside,
                                              const T* w_out, const T* dloss, T divisor,
                                              const T* valid, bool to_a, bool to_b, T* out_a,
                                              T* out_b) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    T slope = difference(i, a, b, inside, w_in) * square;
    slope = slope > 1 ? (T)1 : slope < -1 ? (T)-1 : slope;
    if (inside) slope *= w_in[i];
    if (outside) slope *= w_out[i];
    slope *= weight;
    if (to_a) out_a[i] = slope;
    if (to_b) out_b[i] = -slope;
  }
}
