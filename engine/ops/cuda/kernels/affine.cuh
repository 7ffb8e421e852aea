// What single elements go through at the end of a layer, and the layers behind it. The same bits
// wherever it is computed, and computed again.

// x s + b, rounded once.
__device__ inline T scaled(T x, T s, T b) { return fma(x, s, b); }

// max(x, 0) + slope min(x, 0); nan stays nan. Nothing changes where slope is 1.
__device__ inline T rectified(T x, T slope) {
  return x < 0 ? (slope == 0 ? (T)0 : slope * x) : x;
}

// The gradient of x, from that of y; y may be x, or, where slope is not negative, the result.
__device__ inline T rectified_gradient(T dy, T y, T slope) { return y > 0 ? dy : slope * dy; }
