// Numbers of 16 bits, to which factors of products are rounded: to the nearest, to the even one of
// two. What is too large becomes inf, nan stays nan.

struct Bf16 {
  unsigned short bits;

  Bf16() = default;
  __device__ explicit Bf16(float number) {
    const unsigned from = __float_as_uint(number);
    const bool is_nan = (from & 0x7fffffffu) > 0x7f800000u;
    bits = is_nan ? from >> 16 | 0x40u : (from + 0x7fffu + (from >> 16 & 1u)) >> 16;
  }
  __device__ explicit operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

struct Fp16 {
  unsigned short bits;

  Fp16() = default;
  __device__ explicit Fp16(float number) {
    const unsigned from = __float_as_uint(number), size = from & 0x7fffffffu;
    unsigned to;
    if (size >= 0x47800000u) {  // 2^16 and more, inf and nan
      to = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    } else if (size < 0x38800000u) {  // below 2^-14: the sum has steps of 2^-24, as its numbers
      to = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u;
    } else {
      to = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    }
    bits = from >> 16 & 0x8000u | to;
  }
  __device__ explicit operator float() const {
    const unsigned size = bits & 0x7fffu;
    const unsigned up = size < 0x7c00u ? 0x38000000u : 0x70000000u;  // of exponents; inf and nan
    const float number =
        size < 0x400u ? size * 5.9604644775390625e-8f : __uint_as_float((size << 13) + up);
    return __uint_as_float(__float_as_uint(number) | (bits & 0x8000u) << 16);
  }
};
