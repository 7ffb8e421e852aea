// Functions of one element. x, y, dy and their gradients have `count` elements; out may be x or dy.

#include "common.cuh"
#include "affine.cuh"
#include "map.cuh"
#include "sigmoid.cuh"

// max(x, 0) + slope min(x, 0); nan stays nan.
extern "C" __global__ void relu_forward(size_t count, T slope, const T* x, T* out) {
  map(count, [=](T at) { return rectified(at, slope); }, out, x);
}

// x: may be what relu_forward made of it, where slope is not negative.
extern "C" __global__ void relu_backward(size_t count, T slope, const T* dy, const T* x, T* out) {
  map(count, [=](T d, T at) { return rectified_gradient(d, at, slope); }, out, dy, x);
}

extern "C" __global__ void sigmoid_forward(size_t count, const T* x, T* out) {
  map(count, [](T at) { return sigmoid(at); }, out, x);
}

extern "C" __global__ void sigmoid_backward(size_t count, const T* dy, const T* y, T* out) {
  map(count, [](T d, T at) { return d * ((1 - at) * at); }, out, dy, y);
}

extern "C" __global__ void tanh_forward(size_t count, const T* x, T* out) {
  map(count, [](T at) { return tanh(at); }, out, x);
}

extern "C" __global__ void tanh_backward(size_t count, const T* dy, const T* y, T* out) {
  map(count, [](T d, T at) { return d * (1 - at * at); }, out, dy, y);
}

// (shift + scale x)^power
extern "C" __global__ void power_forward(size_t count, T power, T scale, T shift, const T* x,
                                         T* out) {
  map(
      count,
      [=](T at) {
        const T base = scale * at + shift;
        return power == 1 ? base : pow(base, power);
      },
      out, x);
}

// dy power scale (shift + scale x)^(power - 1)
extern "C" __global__ void power_backward(size_t count, T power, T scale, T shift, const T* dy,
                                          const T* x, T* out) {
  map(
      count,
      [=](T d, T at) {
        const T slope = power == 1 ? (T)1 : pow(scale * at + shift, power - 1);
        return d * (slope * (power * scale));
      },
      out, dy, x);
}

extern "C" __global__ void absolute_forward(size_t count, const T* x, T* out) {
  map(count, [](T at) { return fabs(at); }, out, x);
}

// dy times the sign of x: 0 at 0, nan at nan.
extern "C" __global__ void absolute_backward(size_t count, const T* dy, const T* x, T* out) {
  map(
      count, [](T d, T at) { return d * (at > 0 ? (T)1 : at < 0 ? (T)-1 : at); }, out, dy, x);
}

// 1 where x is above the threshold, else 0.
extern "C" __global__ void threshold_forward(size_t count, T threshold, const T* x, T* out) {
  map(count, [=](T at) { return (T)(at > threshold); }, out, x);
}

// nan stays nan.
extern "C" __global__ void clip_forward(size_t count, T least, T most, const T* x, T* out) {
  map(count, [=](T at) { return at < least ? least : at > most ? most : at; }, out, x);
}

extern "C" __global__ void clip_backward(size_t count, T least, T most, const T* dy, const T* x,
                                         T* out) {
  map(count, [=](T d, T at) { return d * (T)(at >= least && at <= most); }, out, dy, x);
}

// nan stays nan.
extern "C" __global__ void relu6_forward(size_t count, T slope, const T* x, T* out) {
  map(count, [=](T at) { return at > 6 ? (T)6 : rectified(at, slope); }, out, x);
}

extern "C" __global__ void relu6_backward(size_t count, T slope, const T* dy, const T* y, T* out) {
  map(
      count, [=](T d, T at) { return d * (at <= 0 ? slope : (T)(at < 6)); }, out, dy, y);
}

extern "C" __global__ void fill(size_t count, T number, T* out) {
  map(count, [=]() { return number; }, out);
}
