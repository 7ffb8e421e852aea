// The sigmoid, as Caffe computes it on a GPU.

// 1 / (1 + exp(-x)), which cannot overflow so.
__device__ inline T sigmoid(T x) { return tanh(x * (T)0.5) * (T)0.5 + (T)0.5; }
