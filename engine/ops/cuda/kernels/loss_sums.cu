// Sums over many elements. out: (parts); divisor, valid: see divisor_of.

#include "common.cuh"
#include "loss_sums.cuh"

// The sums of x, (count) elements.
extern "C" __global__ void sum(size_t parts, size_t count, const T* x, T divisor, const T* valid,
                               T* out) {
  EACH_ROW(part, parts) {
    T total = 0;
    EACH_OF_PART(i, part, parts, count) total += x[i];
    give_sum(total, part, divisor, valid, out);
  }
}

// How many labels, (count) elements, are not `ignore` when cut to integers.
extern "C" __global__ void count_valid(size_t parts, size_t count, int ignore, const T* label,
                                       T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T total = 0;
    EACH_OF_PART(i, part, parts, count) total += trunc(label[i]) != (T)ignore ? 1 : 0;
    give_sum(total, part, divisor, valid, out);
  }
}
