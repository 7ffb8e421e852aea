// Functions of one element made of exponentials and logarithms. x, y, dy and their gradients have
// `count` elements; out may be x or dy.

#include "common.cuh"
#include "map.cuh"
#include "sigmoid.cuh"

// max(x, 0) + alpha (exp(min(x, 0)) - 1)
extern "C" __global__ void elu_forward(size_t count, T alpha, const T* x, T* out) {
  map(count, [=](T at) { return at > 0 ? at : alpha * expm1(at); }, out, x);
}

extern "C" __global__ void elu_backward(size_t count, T alpha, const T* dy, const T* x, T* out) {
  map(count, [=](T d, T at) { return at > 0 ? d : d * (alpha * exp(at)); }, out, dy, x);
}

// log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow.
extern "C" __global__ void bnll_forward(size_t count, const T* x, T* out) {
  map(count, [](T at) { return (at > 0 ? at : (T)0) + log1p(exp(-fabs(at))); }, out, x);
}

extern "C" __global__ void bnll_backward(size_t count, const T* dy, const T* x, T* out) {
  map(count, [](T d, T at) { return d * sigmoid(at); }, out, dy, x);
}

// x / (1 + exp(-beta x))
extern "C" __global__ void swish_forward(size_t count, T beta, const T* x, T* out) {
  map(count, [=](T at) { return at * sigmoid(beta * at); }, out, x);
}

// dy s (1 + beta x (1 - s)) with s = 1 / (1 + exp(-beta x))
extern "C" __global__ void swish_backward(size_t count, T beta, const T* dy, const T* x, T* out) {
  map(
      count,
      [=](T d, T at) {
        const T gate = sigmoid(beta * at);
        return d * (((at - at * gate) * beta + 1) * gate);
      },
      out, dy, x);
}

// x, but not above where n / (n + 2) is 1 for the width of T, with e = exp(x) and n = e (e + 2).
__device__ inline T before_flat(T x) { return x > 20 ? (T)20 : x; }

// x tanh(log(1 + exp(x))), which is x n / (n + 2)
extern "C" __global__ void mish_forward(size_t count, const T* x, T* out) {
  map(
      count,
      [](T at) {
        const T e = exp(before_flat(at)), n = e * (e + 2);
        return at * (n / (n + 2));
      },
      out, x);
}

// dy (n + 4 x e (1 + e) / (n + 2)) / (n + 2)
extern "C" __global__ void mish_backward(size_t count, const T* dy, const T* x, T* out) {
  map(
      count,
      [](T d, T at) {
        const T argument = before_flat(at), e = exp(argument), n = e * (e + 2), whole = n + 2;
        return d * ((n + 4 * argument * e * (1 + e) / whole) / whole);
      },
      out, dy, x);
}

// exp(shift + scale x)
extern "C" __global__ void exp_forward(size_t count, T scale, T shift, const T* x, T* out) {
  map(count, [=](T at) { return exp(at * scale + shift); }, out, x);
}

extern "C" __global__ void exp_backward(size_t count, T scale, const T* dy, const T* y, T* out) {
  map(count, [=](T d, T at) { return d * (at * scale); }, out, dy, y);
}

// factor log(shift + scale x)
extern "C" __global__ void log_forward(size_t count, T factor, T scale, T shift, const T* x,
                                       T* out) {
  map(count, [=](T at) { return log(at * scale + shift) * factor; }, out, x);
}

extern "C" __global__ void log_backward(size_t count, T factor, T scale, T shift, const T* dy,
                                        const T* x, T* out) {
  map(count, [=](T d, T at) { return d * (scale * factor / (at * scale + shift)); }, out, dy, x);
}
