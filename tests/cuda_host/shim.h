// What CUDA C++ has besides C++, for kernels that g++ compiles: the names that NVRTC knows without
// a header, with the same overloads. One OS thread runs everything, so atomics are plain.
#pragma once
#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__
#define __launch_bounds__(...)

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;

// ---- vectors

#define SHIM_VECTOR2(type, name, bytes)                \
  struct alignas(bytes) name { type x, y; };           \
  inline name make_##name(type x, type y) { return {x, y}; }
#define SHIM_VECTOR4(type, name, bytes)                \
  struct alignas(bytes) name { type x, y, z, w; };     \
  inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }
SHIM_VECTOR2(float, float2, 8)
SHIM_VECTOR4(float, float4, 16)
SHIM_VECTOR2(double, double2, 16)
SHIM_VECTOR4(double, double4, 16)
SHIM_VECTOR2(int, int2, 8)
SHIM_VECTOR4(int, int4, 16)
SHIM_VECTOR2(unsigned, uint2, 8)
SHIM_VECTOR4(unsigned, uint4, 16)
SHIM_VECTOR2(unsigned char, uchar2, 2)
SHIM_VECTOR4(unsigned char, uchar4, 4)
SHIM_VECTOR2(unsigned short, ushort2, 4)
SHIM_VECTOR4(unsigned short, ushort4, 8)
SHIM_VECTOR2(long long, longlong2, 16)
SHIM_VECTOR2(unsigned long long, ulonglong2, 16)

// ---- mathematics

#define SHIM_UNARY(name)                     \
  extern "C" double name(double) noexcept;   \
  extern "C" float name##f(float) noexcept;  \
  inline float name(float x) { return name##f(x); }
#define SHIM_BINARY(name)                           \
  extern "C" double name(double, double) noexcept;  \
  extern "C" float name##f(float, float) noexcept;  \
  inline float name(float x, float y) { return name##f(x, y); }
SHIM_UNARY(sqrt) SHIM_UNARY(cbrt) SHIM_UNARY(exp) SHIM_UNARY(exp2) SHIM_UNARY(exp10)
SHIM_UNARY(expm1) SHIM_UNARY(log) SHIM_UNARY(log2) SHIM_UNARY(log10) SHIM_UNARY(log1p)
SHIM_UNARY(sin) SHIM_UNARY(cos) SHIM_UNARY(tan) SHIM_UNARY(asin) SHIM_UNARY(acos)
SHIM_UNARY(atan) SHIM_UNARY(sinh) SHIM_UNARY(cosh) SHIM_UNARY(tanh) SHIM_UNARY(asinh)
SHIM_UNARY(acosh) SHIM_UNARY(atanh) SHIM_UNARY(erf) SHIM_UNARY(erfc) SHIM_UNARY(tgamma)
SHIM_UNARY(lgamma) SHIM_UNARY(fabs) SHIM_UNARY(floor) SHIM_UNARY(ceil) SHIM_UNARY(trunc)
SHIM_UNARY(round) SHIM_UNARY(rint) SHIM_UNARY(nearbyint)
SHIM_BINARY(pow) SHIM_BINARY(fmod) SHIM_BINARY(remainder) SHIM_BINARY(atan2)
SHIM_BINARY(hypot) SHIM_BINARY(copysign) SHIM_BINARY(nextafter) SHIM_BINARY(fdim)
SHIM_BINARY(fmax) SHIM_BINARY(fmin)
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
inline float ldexp(float x, int power) { return ldexpf(x, power); }
extern "C" long long llrint(double) noexcept;
extern "C" long long llrintf(float) noexcept;
inline float pow(float x, int y) { return powf(x, float(y)); }
inline double pow(double x, int y) { return pow(x, double(y)); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline void sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline void sincos(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }
extern "C" int abs(int) noexcept;
inline long abs(long x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }

#define SHIM_TEST(name)                                           \
  inline bool name(float x) { return __builtin_##name(x); }       \
  inline bool name(double x) { return __builtin_##name(x); }
SHIM_TEST(isnan) SHIM_TEST(isinf) SHIM_TEST(isfinite) SHIM_TEST(signbit)

// of two numbers of which one is nan, max and min give the other, as fmax and fmin
#define SHIM_ORDER(type, other, result)       \
  inline result max(type x, other y) {        \
    const result a = x, b = y;                \
    return a < b ? b : a;                     \
  }                                           \
  inline result min(type x, other y) {        \
    const result a = x, b = y;                \
    return b < a ? b : a;                     \
  }
#define SHIM_ORDER_FLOAT(type, other, result)                               \
  inline result max(type x, other y) { return fmax(result(x), result(y)); } \
  inline result min(type x, other y) { return fmin(result(x), result(y)); }
#define SHIM_ORDERS(type)                    \
  SHIM_ORDER(type, type, type)               \
  SHIM_ORDER(unsigned type, unsigned type, unsigned type) \
  SHIM_ORDER(type, unsigned type, unsigned type)          \
  SHIM_ORDER(unsigned type, type, unsigned type)
SHIM_ORDERS(int) SHIM_ORDERS(long) SHIM_ORDERS(long long)
SHIM_ORDER_FLOAT(float, float, float) SHIM_ORDER_FLOAT(double, double, double)
SHIM_ORDER_FLOAT(float, double, double) SHIM_ORDER_FLOAT(double, float, double)

#define SHIM_ROUNDED(type, prefix, root)                                       \
  inline type prefix##add_rn(type x, type y) { return x + y; }                 \
  inline type prefix##sub_rn(type x, type y) { return x - y; }                 \
  inline type prefix##mul_rn(type x, type y) { return x * y; }                 \
  inline type prefix##div_rn(type x, type y) { return x / y; }                 \
  inline type prefix##rcp_rn(type x) { return 1 / x; }                         \
  inline type prefix##sqrt_rn(type x) { return root(x); }
SHIM_ROUNDED(float, __f, sqrtf) SHIM_ROUNDED(double, __d, sqrt)
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0), 1); }

// ---- bits

template <class To, class From>
inline To shim_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __int_as_float(int x) { return shim_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
inline int __float_as_int(float x) { return shim_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return shim_bits<double>(x); }
inline long long __double_as_longlong(double x) { return shim_bits<long long>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __mulhi(int x, int y) { return int((long long)(x) * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned long long)(x) * y >> 32; }
inline long long __mul64hi(long long x, long long y) { return __int128(x) * y >> 64; }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)(x) * y >> 64);
}

// a number as a whole one: to the nearest even, towards 0, down, up. Out of range: the nearest in
// it; nan: 0
template <class To>
inline To shim_whole(double x) {
  const bool is_signed = To(-1) < To(0);
  const To most = To(~0ull >> (64 - 8 * sizeof(To) + is_signed)), least = To(~most);
  if (isnan(x)) return 0;
  const double bound = ldexp(1.0, int(8 * sizeof(To)) - is_signed);
  return x >= bound ? most : x < (is_signed ? -bound : 0) ? (is_signed ? least : To(0)) : To(x);
}
#define SHIM_WHOLE(from, to, type)                                                        \
  inline type __##from##2##to##_rn(from x) { return shim_whole<type>(rint(double(x))); }  \
  inline type __##from##2##to##_rz(from x) { return shim_whole<type>(trunc(double(x))); } \
  inline type __##from##2##to##_rd(from x) { return shim_whole<type>(floor(double(x))); } \
  inline type __##from##2##to##_ru(from x) { return shim_whole<type>(ceil(double(x))); }
SHIM_WHOLE(float, int, int) SHIM_WHOLE(float, uint, unsigned) SHIM_WHOLE(float, ll, long long)
SHIM_WHOLE(double, int, int) SHIM_WHOLE(double, uint, unsigned) SHIM_WHOLE(double, ll, long long)
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline float __ll2float_rn(long long x) { return float(x); }
inline float __ull2float_rn(unsigned long long x) { return float(x); }
inline float __double2float_rn(double x) { return float(x); }

// ---- memory

template <class V>
struct shim_same { typedef V type; };  // a parameter that takes what converts to it
template <class V>
inline V __ldg(const V* at) { return *at; }
#define SHIM_ATOMIC(name, result)                            \
  template <class V>                                         \
  inline V name(V* at, typename shim_same<V>::type value) {  \
    const V old = *at;                                       \
    *at = result;                                            \
    return old;                                              \
  }
SHIM_ATOMIC(atomicAdd, old + value)
SHIM_ATOMIC(atomicSub, old - value)
SHIM_ATOMIC(atomicMax, old < value ? value : old)
SHIM_ATOMIC(atomicMin, value < old ? value : old)
SHIM_ATOMIC(atomicExch, value)
SHIM_ATOMIC(atomicAnd, old & value)
SHIM_ATOMIC(atomicOr, old | value)
SHIM_ATOMIC(atomicXor, old ^ value)
template <class V>
inline V atomicCAS(V* at, typename shim_same<V>::type compare, typename shim_same<V>::type value) {
  const V old = *at;
  if (old == compare) *at = value;
  return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- threads of a block

#define SHIM_HERE (shim::Place{__FILE__, __LINE__})
#define __syncthreads() shim::barrier(SHIM_HERE)
#define __syncwarp(...) shim_sync_warp(SHIM_HERE __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) shim_shuffle(SHIM_HERE, __VA_ARGS__)
#define __shfl_up_sync(...) shim_shuffle_up(SHIM_HERE, __VA_ARGS__)
#define __shfl_down_sync(...) shim_shuffle_down(SHIM_HERE, __VA_ARGS__)
#define __shfl_xor_sync(...) shim_shuffle_xor(SHIM_HERE, __VA_ARGS__)
#define __ballot_sync(mask, predicate) shim_ballot(SHIM_HERE, mask, predicate)
#define __any_sync(mask, predicate) (shim_ballot(SHIM_HERE, mask, predicate) != 0)
#define __all_sync(mask, predicate) (shim_ballot(SHIM_HERE, mask, !(predicate)) == 0)
#define __trap() shim::fail(SHIM_HERE, "stopped by __trap")

inline void shim_sync_warp(shim::Place place, unsigned mask = ~0u) {
  shim::meet(place, mask, 0, 0);
}
inline unsigned shim_ballot(shim::Place place, unsigned mask, int predicate) {
  return shim::meet(place, mask, predicate != 0, 0)->votes;
}
template <class V>
V shim_exchange(shim::Place place, unsigned mask, V value, int source) {
  static_assert(sizeof(V) == 4 || sizeof(V) == 8, "shuffles move 4 or 8 bytes");
  shim::Word word = 0;
  __builtin_memcpy(&word, &value, sizeof value);
  word = shim::meet(place, mask, word, unsigned(source))->received;
  __builtin_memcpy(&value, &word, sizeof value);
  return value;
}
inline int shim_lane() { return int(threadIdx.x % warpSize); }
inline int shim_segment(int width) { return shim_lane() / width * width; }
template <class V>
V shim_shuffle(shim::Place place, unsigned mask, V value, int source, int width = 32) {
  return shim_exchange(place, mask, value, shim_segment(width) + (source & (width - 1)));
}
template <class V>
V shim_shuffle_up(shim::Place place, unsigned mask, V value, unsigned delta, int width = 32) {
  const int source = shim_lane() - int(delta);
  return shim_exchange(place, mask, value, source < shim_segment(width) ? shim_lane() : source);
}
template <class V>
V shim_shuffle_down(shim::Place place, unsigned mask, V value, unsigned delta, int width = 32) {
  const int source = shim_lane() + int(delta);
  const bool inside = source < shim_segment(width) + width;
  return shim_exchange(place, mask, value, inside ? source : shim_lane());
}
template <class V>
V shim_shuffle_xor(shim::Place place, unsigned mask, V value, int lanes, int width = 32) {
  const int source = shim_lane() ^ lanes;
  const bool inside = source < shim_segment(width) + width;
  return shim_exchange(place, mask, value, inside ? source : shim_lane());
}

// ---- what g++ checks (-fsanitize), so that it ends the launch with a message

struct ShimPlace { const char* file; unsigned line, column; };
#define SHIM_CHECK(name, what, ...)                            \
  extern "C" __attribute__((visibility("hidden"))) void        \
  __ubsan_handle_##name(ShimPlace* place, __VA_ARGS__) {     \
    shim::fail({place->file, int(place->line)}, what);         \
  }
SHIM_CHECK(type_mismatch_v1, "expected an aligned address, got another", size_t)
SHIM_CHECK(out_of_bounds, "expected an index within the array, got another", size_t)
SHIM_CHECK(divrem_overflow, "expected a divisor other than 0, got 0", size_t, size_t)
SHIM_CHECK(shift_out_of_bounds, "expected a shift by fewer bits than there are, got more", size_t,
           size_t)
SHIM_CHECK(float_cast_overflow, "expected a number that the integer can hold, got another", size_t)
