// Values of one shape, element by element: all have `count` elements.

#include "common.cuh"
#include "affine.cuh"
#include "map.cuh"

// ---- sums. slope: of the ReLU behind; 1 where there is none

// c0 x0; out may be any of the inputs, here and below
extern "C" __global__ void sum_1(size_t count, T slope, T c0, const T* x0, T* out) {
  map(count, [=](T a) { return rectified(c0 * a, slope); }, out, x0);
}

// c0 x0 + c1 x1
extern "C" __global__ void sum_2(size_t count, T slope, T c0, T c1, const T* x0, const T* x1,
                                 T* out) {
  map(count, [=](T a, T b) { return rectified(c0 * a + c1 * b, slope); }, out, x0, x1);
}

// c0 x0 + c1 x1 + c2 x2
extern "C" __global__ void sum_3(size_t count, T slope, T c0, T c1, T c2, const T* x0, const T* x1,
                                 const T* x2, T* out) {
  map(
      count, [=](T a, T b, T c) { return rectified(c0 * a + c1 * b + c2 * c, slope); }, out, x0, x1,
      x2);
}

// c0 x0 + c1 x1 + c2 x2 + c3 x3
extern "C" __global__ void sum_4(size_t count, T slope, T c0, T c1, T c2, T c3, const T* x0,
                                 const T* x1, const T* x2, const T* x3, T* out) {
  map(
      count,
      [=](T a, T b, T c, T d) { return rectified(c0 * a + c1 * b + c2 * c + c3 * d, slope); }, out,
      x0, x1, x2, x3);
}

// The gradients of x0 and x1 of sum_2.
extern "C" __global__ void sum_gradients(size_t count, T c0, T c1, const T* dy, T* out0, T* out1) {
  map_pair(
      count, [=](T* made, T d) { made[0] = c0 * d, made[1] = c1 * d; }, out0, out1, dy);
}

// ---- around a ReLU. d: the gradient of its result, or d0 + d1 that; y: the result; out: the
// gradient of what it read, of which out0 and out1 are c0 and c1 times.

extern "C" __global__ void rectified_gradient_of_2(size_t count, T slope, const T* d0, const T* d1,
                                                   const T* y, T* out) {
  map(
      count, [=](T a, T b, T at) { return rectified_gradient(a + b, at, slope); }, out, d0, d1, y);
}

struct Spread {
  T slope, c0, c1;

  __device__ void operator()(T* made, T d, T y) const {
    const T gradient = rectified_gradient(d, y, slope);
    made[0] = c0 * gradient, made[1] = c1 * gradient;
  }
};

extern "C" __global__ void rectified_gradient_of_1_spread(size_t count, T slope, T c0, T c1,
                                                          const T* d, const T* y, T* out0,
                                                          T* out1) {
  map_pair(count, Spread{slope, c0, c1}, out0, out1, d, y);
}

extern "C" __global__ void rectified_gradient_of_2_spread(size_t count, T slope, T c0, T c1,
                                                          const T* d0, const T* d1, const T* y,
                                                          T* out0, T* out1) {
  const Spread spread = {slope, c0, c1};
  map_pair(
      count, [=](T* made, T a, T b, T at) { spread(made, a + b, at); }, out0, out1, d0, d1, y);
}

// f(results, x[i]...) sets the elements i of three values.
template <class F, class... X>
__device__ inline void map_three(size_t count, F f, T* out0, T* out1, T* out2, const X*... x) {
  T* const outs[] = {out0, out1, out2};
  map_places(
      count, [](size_t) { return Anywhere(); },
      [&](const Anywhere&, T* results, X... at) { f(results, at...); }, outs, x...);
}

extern "C" __global__ void rectified_gradient_of_1_spread_and_kept(size_t count, T slope, T c0,
                                                                   T c1, const T* d, const T* y,
                                                                   T* out0, T* out1, T* out) {
  const Spread spread = {slope, c0, c1};
  map_three(
      count,
      [=](T* made, T a, T at) {
        spread(made, a, at);
        made[2] = rectified_gradient(a, at, slope);
      },
      out0, out1, out, d, y);
}

extern "C" __global__ void rectified_gradient_of_2_spread_and_kept(size_t count, T slope, T c0,
                                                                   T c1, const T* d0, const T* d1,
                                                                   const T* y, T* out0, T* out1,
                                                                   T* out) {
  const Spread spread = {slope, c0, c1};
  map_three(
      count,
      [=](T* made, T a, T b, T at) {
        spread(made, a + b, at);
        made[2] = rectified_gradient(a + b, at, slope);
      },
      out0, out1, out, d0, d1, y);
}

// ---- products

// a b; out may be a or b
extern "C" __global__ void product(size_t count, const T* a, const T* b, T* out) {
  map(count, [](T one, T other) { return one * other; }, out, a, b);
}

// dy y / x
extern "C" __global__ void quotient(size_t count, const T* dy, const T* y, const T* x, T* out) {
  map(count, [](T d, T whole, T at) { return whole / at * d; }, out, dy, y, x);
}

// The gradients of x0 and x1, dy x1 and dy x0.
extern "C" __global__ void product_gradients(size_t count, const T* dy, const T* x0, const T* x1,
                                             T* out0, T* out1) {
  map_pair(
      count, [](T* made, T d, T a, T b) { made[0] = d * b, made[1] = d * a; }, out0, out1, dy, x0,
      x1);
}

// ---- maxima

// a where it is larger, else b, nan or not; out may be a or b
extern "C" __global__ void larger(size_t count, const T* a, const T* b, T* out) {
  map(count, [](T one, T other) { return one > other ? one : other; }, out, a, b);
}

// The gradients of x0 and x1 of larger: dy goes to one of them.
extern "C" __global__ void larger_gradients(size_t count, const T* dy, const T* x0, const T* x1,
                                            T* out0, T* out1) {
  map_pair(
      count,
      [](T* made, T d, T a, T b) { made[0] = d * (T)(a > b), made[1] = d * (T)!(a > b); }, out0,
      out1, dy, x0, x1);
}

// largest: the larger of x0 and x1.  winner: the number of that input.
extern "C" __global__ void first_winner(size_t count, const T* x0, const T* x1, T* largest,
                                        int* winner) {
  EACH(i, count) {
    winner[i] = !(x0[i] > x1[i]);
    largest[i] = winner[i] ? x1[i] : x0[i];
  }
}

// The same with one input more, number `place`.
extern "C" __global__ void next_winner(size_t count, int place, const T* x, T* add_largest,
                                       int* add_winner) {
  EACH(i, count) {
    if (!(x[i] > add_largest[i])) continue;
    add_largest[i] = x[i];
    add_winner[i] = place;
  }
}

// The gradient of input number `place`.
extern "C" __global__ void winner_gradient(size_t count, int place, const T* dy, const int* winner,
                                           T* out) {
  EACH(i, count) out[i] = dy[i] * (T)(winner[i] == place);
}
