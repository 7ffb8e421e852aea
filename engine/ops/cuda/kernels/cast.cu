// Factors of products rounded to 16 bits, a vector at a time where pointers allow it.
//
// x: the elements from place `first` on are read.  out: (count,) their bits.

#include "common.cuh"
#include "map.cuh"
#include "half.cuh"

template <class H>
struct alignas(LANES * sizeof(H)) Halves {
  H lane[LANES];
};

template <class H>
__device__ inline void cast(size_t count, const T* x, H* out) {
  const bool whole = aligned(x) && (size_t)out % sizeof(Halves<H>) == 0;
  const size_t vectors = whole ? count / LANES : 0;
  EACH(v, vectors) {
    const Vector read = ((const Vector*)x)[v];
    Halves<H> made;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) made.lane[lane] = H(read.lane[lane]);
    ((Halves<H>*)out)[v] = made;
  }
  EACH(rest, count - vectors * LANES) {
    const size_t i = vectors * LANES + rest;
    out[i] = H(x[i]);
  }
}

extern "C" __global__ void cast_fp16(size_t count, size_t first, const T* x, unsigned short* out) {
  cast(count, x + first, (Fp16*)out);
}

extern "C" __global__ void cast_bf16(size_t count, size_t first, const T* x, unsigned short* out) {
  cast(count, x + first, (Bf16*)out);
}
