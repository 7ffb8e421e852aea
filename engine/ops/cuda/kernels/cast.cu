// Factors of products rounded to 16 bits, and results back, a vector at a time where pointers allow
// it.

#include "common.cuh"
#include "affine.cuh"
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

// x: the elements from place `first` on are read.  out: (count,) their bits.
extern "C" __global__ void cast_fp16(size_t count, size_t first, const T* x, unsigned short* out) {
  cast(count, x + first, (Fp16*)out);
}

extern "C" __global__ void cast_bf16(size_t count, size_t first, const T* x, unsigned short* out) {
  cast(count, x + first, (Bf16*)out);
}

template <class H>
__device__ inline void widen(size_t count, size_t size, size_t inner, bool biased, T slope,
                             const H* x, const T* b, T* out) {
  const auto at = [=](H half, const Channel& place) {
    const T number = T(float(half));
    return rectified(biased ? number + b[place.channel] : number, slope);
  };
  const bool whole = aligned(out) && (size_t)x % sizeof(Halves<H>) == 0;
  const size_t vectors = whole ? count / LANES : 0;
  EACH(v, vectors) {
    const Halves<H> read = ((const Halves<H>*)x)[v];
    Channel place(v * LANES, size, inner);
    Vector made;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) {
      made.lane[lane] = at(read.lane[lane], place);
      place.next();
    }
    ((Vector*)out)[v] = made;
  }
  EACH(rest, count - vectors * LANES) {
    const size_t i = vectors * LANES + rest;
    out[i] = at(x[i], Channel(i, size, inner));
  }
}

// x: the bits of (outer, size, inner) elements, count in all.  b: (size,), added where biased.
// slope: of the ReLU behind; 1 where there is none.  out: like x.
extern "C" __global__ void widen_fp16(size_t count, size_t size, size_t inner, bool biased, T slope,
                                      const unsigned short* x, const T* b, T* out) {
  widen(count, size, inner, biased, slope, (const Fp16*)x, b, out);
}

extern "C" __global__ void widen_bf16(size_t count, size_t size, size_t inner, bool biased, T slope,
                                      const unsigned short* x, const T* b, T* out) {
  widen(count, size, inner, biased, slope, (const Bf16*)x, b, out);
}
