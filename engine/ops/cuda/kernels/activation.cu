// Functions of one element. x, y, dy and their gradients have `count` elements; out may be x or dy.

#include "common.cuh"

// max(x, 0) + slope min(x, 0); nan stays nan.
extern "C" __global__ void relu_forward(size_t count, T slope, const T* x, T* out) {
  EACH(i, count) {
    const T at = x[i];
    out[i] = at < 0 ? (slope == 0 ? (T)0 : slope * at) : at;
  }
}

// x: may be what relu_forward made of it, where slope is not negative.
extern "C" __global__ void relu_backward(size_t count, T slope, const T* dy, const T* x, T* out) {
  EACH(i, count) out[i] = x[i] > 0 ? dy[i] : slope * dy[i];
}

extern "C" __global__ void sigmoid_forward(size_t count, const T* x, T* out) {
  EACH(i, count) out[i] = tanh(x[i] * (T)0.5) * (T)0.5 + (T)0.5;
}

extern "C" __global__ void sigmoid_backward(size_t count, const T* dy, const T* y, T* out) {
  EACH(i, count) out[i] = dy[i] * ((1 - y[i]) * y[i]);
}

extern "C" __global__ void tanh_forward(size_t count, const T* x, T* out) {
  EACH(i, count) out[i] = tanh(x[i]);
}

extern "C" __global__ void tanh_backward(size_t count, const T* dy, const T* y, T* out) {
  EACH(i, count) out[i] = dy[i] * (1 - y[i] * y[i]);
}

// (shift + scale x)^power
extern "C" __global__ void power_forward(size_t count, T power, T scale, T shift, const T* x,
                                         T* out) {
  EACH(i, count) {
    const T base = scale * x[i] + shift;
    out[i] = power == 1 ? base : pow(base, power);
  }
}

// dy power scale (shift + scale x)^(power - 1)
extern "C" __global__ void power_backward(size_t count, T power, T scale, T shift, const T* dy,
                                          const T* x, T* out) {
  EACH(i, count) {
    const T slope = power == 1 ? (T)1 : pow(scale * x[i] + shift, power - 1);
    out[i] = dy[i] * (slope * (power * scale));
  }
}

extern "C" __global__ void fill(size_t count, T number, T* out) {
  EACH(i, count) out[i] = number;
}
