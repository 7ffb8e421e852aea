// Steps of recurrent networks. N sequences; gates of an LSTM lie as (N, 4 size): i, f, o and g, one
// behind the other. Pointers over all steps are (steps, N, ...); `time` is the step that a launch
// computes, `count` N * size. cont: (steps, N), 0 where a sequence begins, else 1.

#include "common.cuh"
#include "sigmoid.cuh"

// One cell's step. gates: of the cell, i, f, o, g `size` apart: their inputs become their outputs,
// f times goes_on. c: that before. Gives c after the step.
__device__ inline T advance(T* gates, size_t size, T goes_on, T c) {
  const T put = sigmoid(gates[0]);
  const T forget = sigmoid(gates[size]) * goes_on;
  const T fresh = tanh(gates[3 * size]);
  gates[0] = put;
  gates[size] = forget;
  gates[2 * size] = sigmoid(gates[2 * size]);
  gates[3 * size] = fresh;
  return forget * c + put * fresh;
}

// One cell's step back. gates, c: as `advance` left and took them; squashed: tanh(c after); dc, dh:
// gradients of c and h after; out: that of the gates' inputs, like gates. Gives that of c before.
__device__ inline T retreat(const T* gates, size_t size, T squashed, T c, T dc, T dh, T* out) {
  const T put = gates[0], forget = gates[size], output = gates[2 * size], fresh = gates[3 * size];
  const T of_cell = dc + dh * output * (1 - squashed * squashed);
  out[0] = fresh * put * (1 - put) * of_cell;
  out[size] = c * forget * (1 - forget) * of_cell;
  out[2 * size] = squashed * output * (1 - output) * dh;
  out[3 * size] = put * (1 - fresh * fresh) * of_cell;
  return of_cell * forget;
}

// Where the gates of cell i begin among those of N sequences.
__device__ inline size_t gates_of(size_t i, size_t size) { return i / size * 4 * size + i % size; }

// c, out_c, out_h, squashed: (N, size); x, gates: (N, 4 size), gates being kept; cont: (N).
extern "C" __global__ void lstm_unit_forward(size_t count, size_t size, const T* c, const T* x,
                                             const T* cont, T* gates, T* squashed, T* out_c,
                                             T* out_h) {
  EACH(i, count) {
    const size_t at = gates_of(i, size);
    for (int gate = 0; gate < 4; ++gate) gates[at + gate * size] = x[at + gate * size];
    const T after = advance(gates + at, size, cont[i / size], c[i]);
    out_c[i] = after;
    squashed[i] = tanh(after);
    out_h[i] = gates[at + 2 * size] * squashed[i];
  }
}

// dc, dh, c, squashed, out_c: (N, size); gates, out_x: (N, 4 size).
extern "C" __global__ void lstm_unit_backward(size_t count, size_t size, const T* dc, const T* dh,
                                              const T* c, const T* gates, const T* squashed,
                                              T* out_c, T* out_x) {
  EACH(i, count) {
    const size_t at = gates_of(i, size);
    out_c[i] = retreat(gates + at, size, squashed[i], c[i], dc[i], dh[i], out_x + at);
  }
}

// What the first step sees: hidden = h cont. h: (N, size); hidden: (steps, N, size).
extern "C" __global__ void begin_hidden(size_t count, size_t size, const T* h, const T* cont,
                                        T* hidden) {
  EACH(i, count) hidden[i] = h[i] * cont[i / size];
}

// As begin_hidden, and cells = c. c: (N, size); cells: (steps + 1, N, size).
extern "C" __global__ void begin_lstm(size_t count, size_t size, const T* h, const T* c,
                                      const T* cont, T* hidden, T* cells) {
  EACH(i, count) {
    hidden[i] = h[i] * cont[i / size];
    cells[i] = c[i];
  }
}

// A step from x + fixed + product; fixed: (N, 4 size), looked at where has_fixed. product: (N, 4
// size).
// x, gates: (steps, N, 4 size); cells: (steps + 1, N, size), before and after; squashed, out,
// hidden: (steps, N, size), hidden being h cont of the next step.
extern "C" __global__ void lstm_forward(size_t count, size_t size, size_t time, size_t steps,
                                        bool has_fixed, const T* x, const T* fixed,
                                        const T* product, const T* cont, T* add_gates,
                                        T* add_cells, T* add_squashed, T* add_hidden, T* add_out) {
  const size_t start = time * count, samples = count / size;
  EACH(i, count) {
    const size_t at = gates_of(i, size), sample = i / size;
    T* gates = add_gates + 4 * start + at;
    for (int gate = 0; gate < 4; ++gate) {
      const size_t k = gate * size;
      T input = x[4 * start + at + k];
      if (has_fixed) input += fixed[at + k];
      gates[k] = input + product[at + k];
    }
    const T after = advance(gates, size, cont[time * samples + sample], add_cells[start + i]);
    add_cells[start + count + i] = after;
    const T squashed = tanh(after);
    add_squashed[start + i] = squashed;
    const T h = gates[2 * size] * squashed;
    add_out[start + i] = h;
    if (time + 1 < steps)
      add_hidden[start + count + i] = h * cont[(time + 1) * samples + sample];
  }
}

// A step back, the last one first. of_hidden: (N, size), the gradient of the next step's hidden;
// add_of_cell: (N, size), that of c after this step, made that of c before; both 0 at the last
// step.
// dy: (steps, N, size); add_out: (steps, N, 4 size); the rest as in lstm_forward.
extern "C" __global__ void lstm_backward(size_t count, size_t size, size_t time, size_t steps,
                                         const T* dy, const T* cont, const T* gates,
                                         const T* cells, const T* squashed, const T* of_hidden,
                                         T* add_of_cell, T* add_out) {
  const size_t start = time * count, samples = count / size;
  const bool last = time + 1 == steps;
  EACH(i, count) {
    const size_t at = 4 * start + gates_of(i, size);
    T dh = dy[start + i];
    if (!last) dh += of_hidden[i] * cont[(time + 1) * samples + i / size];
    add_of_cell[i] = retreat(gates + at, size, squashed[start + i], cells[start + i],
                             last ? (T)0 : add_of_cell[i], dh, add_out + at);
  }
}

// A step h = tanh(x + fixed + product); fixed: (N, size), looked at where has_fixed. product: (N,
// size). x, add_out, add_hidden: (steps, N, size), hidden being h cont of the next step.
extern "C" __global__ void rnn_forward(size_t count, size_t size, size_t time, size_t steps,
                                       bool has_fixed, const T* x, const T* fixed,
                                       const T* product, const T* cont, T* add_hidden,
                                       T* add_out) {
  const size_t start = time * count, samples = count / size;
  EACH(i, count) {
    T input = x[start + i];
    if (has_fixed) input += fixed[i];
    const T h = tanh(input + product[i]);
    add_out[start + i] = h;
    if (time + 1 < steps)
      add_hidden[start + count + i] = h * cont[(time + 1) * samples + i / size];
  }
}

// A step back, the last one first. of_hidden: (N, size), the gradient of the next step's hidden, 0
// at the last step. dy, y, add_out: (steps, N, size).
extern "C" __global__ void rnn_backward(size_t count, size_t size, size_t time, size_t steps,
                                        const T* dy, const T* y, const T* cont,
                                        const T* of_hidden, T* add_out) {
  const size_t start = time * count, samples = count / size;
  EACH(i, count) {
    T dh = dy[start + i];
    if (time + 1 < steps) dh += of_hidden[i] * cont[(time + 1) * samples + i / size];
    add_out[start + i] = dh * (1 - y[start + i] * y[start + i]);
  }
}

// The sum over all steps. inner: (steps, count); out: (count).
extern "C" __global__ void sum_of_steps(size_t count, size_t steps, const T* inner, T* out) {
  EACH(i, count) {
    T sum = 0;
    for (size_t time = 0; time < steps; ++time) sum += inner[time * count + i];
    out[i] = sum;
  }
}
