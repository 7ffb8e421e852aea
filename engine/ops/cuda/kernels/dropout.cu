// Dropout. x, dy and out have `elements` elements; out may be x or dy. mask: one bit per element,
// whether it stays: those of byte i for elements 8 i ... 8 i + 7, the lowest bit first.
//
// One thread takes 8 elements, for which one block of the generator has the bits. The mask costs
// forward 1/64 more memory traffic; backward would be bound by the generator without it.

#include "common.cuh"
#include "map.cuh"
#include "philox.cuh"

const int EIGHT = 8;

// out = x scale where the bit is set, else x 0, for 8 elements from `start` on, or up to count.
// whole: whether vectors can be read and written.
__device__ inline void apply(size_t count, size_t start, unsigned bits, T scale, bool whole,
                             const T* x, T* out) {
  if (whole && start + EIGHT <= count) {
    Vector in[EIGHT / LANES];
#pragma unroll
    for (int v = 0; v < EIGHT / LANES; ++v) in[v] = ((const Vector*)(x + start))[v];
#pragma unroll
    for (int v = 0; v < EIGHT / LANES; ++v) {
      for (int lane = 0; lane < LANES; ++lane)
        in[v].lane[lane] *= scale * (T)(bits >> (v * LANES + lane) & 1);
      ((Vector*)(out + start))[v] = in[v];
    }
    return;
  }
  for (int i = 0; i < EIGHT && start + i < count; ++i)
    out[start + i] = x[start + i] * (scale * (T)(bits >> i & 1));
}

// count: bytes of the mask.  Element i stays where half i of the stream's words is at least
// `threshold`.  position: the number of forward passes.
extern "C" __global__ void dropout_forward(size_t count, size_t elements, unsigned threshold,
                                           T scale, unsigned long long key0,
                                           unsigned long long key1,
                                           const unsigned long long* position, const T* x, T* out,
                                           unsigned char* mask) {
  const bool whole = aligned(x, out);
  const u64 pass = *position;
  EACH(i, count) {
    const Words drawn = random_words(i, pass, key0, key1);
    unsigned bits = 0;
#pragma unroll
    for (int half = 0; half < EIGHT; ++half)
      bits |= (unsigned)((unsigned)(drawn.word[half / 2] >> half % 2 * 32) >= threshold) << half;
    mask[i] = bits;
    apply(elements, i * EIGHT, bits, scale, whole, x, out);
  }
}

extern "C" __global__ void dropout_backward(size_t count, size_t elements, T scale, const T* dy,
                                            const unsigned char* mask, T* out) {
  const bool whole = aligned(dy, out);
  EACH(i, count) apply(elements, i * EIGHT, mask[i], scale, whole, dy, out);
}
