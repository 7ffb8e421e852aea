// Losses of real numbers. Forward kernels sum by parts: out: (parts), divided by what divisor_of
// gives. Backward kernels write gradients, out, like what they are of; dloss: (1), the gradient of
// the loss.

#include "common.cuh"
#include "loss_sums.cuh"

// t (log t - log p) for t > 0. p, target: (count).
extern "C" __global__ void soft_target_loss(size_t parts, size_t count, const T* p,
                                            const T* target, T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const T t = at_least(target[i], (T)0);
      sum += t * (log(at_least(t, SMALLEST)) - log(at_least(p[i], SMALLEST)));
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// p - t, weighted; as gradient of a sigmoid's cross entropy 0 where the target is `ignore` when cut
// to an integer, if `ignores`. p, target: (count).
extern "C" __global__ void cross_entropy_backward(size_t count, bool ignores, int ignore,
                                                  const T* p, const T* target, const T* dloss,
                                                  T divisor, const T* valid, T* out) {
  const T weight = dloss[0] / divisor_of(divisor, valid);
  EACH(i, count) {
    const T counted = ignores && trunc(target[i]) == (T)ignore ? 0 : 1;
    out[i] = (p[i] - target[i]) * counted * weight;
  }
}

// -(t log p + (1 - t) log(1 - p)) with p = 1 / (1 + exp(-x)), which is written. x, target, p:
// (count).
extern "C" __global__ void sigmoid_loss(size_t parts, size_t count, bool ignores, int ignore,
                                        const T* x, const T* target, T* p, T divisor,
                                        const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const T score = x[i], t = target[i];
      const T small = exp(-fabs(score));  // in (0, 1]: nothing here overflows
      p[i] = (score > 0 ? (T)1 : small) / (1 + small);
      if (!ignores || trunc(t) != (T)ignore)
        sum += at_least(score, (T)0) - score * t + log1p(small);
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// (a - b)^2. a, b: (count).
extern "C" __global__ void euclidean_loss(size_t parts, size_t count, const T* a, const T* b,
                                          T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(i, part, parts, count) {
      const T difference = a[i] - b[i];
      sum += difference * difference;
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// sign (a - b), weighted. a, b: (count).
extern "C" __global__ void euclidean_backward(size_t count, T sign, const T* a, const T* b,
                                              const T* dloss, T divisor, T* out) {
  const T weight = sign * (dloss[0] / divisor);
  EACH(i, count) out[i] = (a[i] - b[i]) * weight;
}

// a - b and b - a, weighted. a, b: (count).
extern "C" __global__ void euclidean_backward_both(size_t count, const T* a, const T* b,
                                                   const T* dloss, T divisor, T* out_a, T* out_b) {
  const T weight = dloss[0] / divisor;
  EACH(i, count) {
    const T slope = (a[i] - b[i]) * weight;
    out_a[i] = slope;
    out_b[i] = -slope;
  }
}

// The sum of (a - b)^2 over one row of `size` elements, for all threads of the block.
__device__ inline T squared_distance(const T* a, const T* b, size_t row, size_t size) {
  T sum = 0;
  for (size_t k = threadIdx.x; k < size; k += BLOCK) {
    const T difference = a[row * size + k] - b[row * size + k];
    sum += difference * difference;
  }
  return block_sum(sum);
}

// The squared distances of pairs. a, b: (pairs, size); out: (pairs).
extern "C" __global__ void squared_distances(size_t pairs, size_t size, const T* a, const T* b,
                                             T* out) {
  EACH_ROW(pair, pairs) {
    const T squared = squared_distance(a, b, pair, size);
    if (threadIdx.x == 0) out[pair] = squared;
  }
}

// d^2 for like pairs, for others max(margin - d, 0)^2 or, legacy, max(margin - d^2, 0). squared:
// d^2, (pairs); label: (pairs), 0 for unlike ones when cut to integers.
extern "C" __global__ void contrastive_loss(size_t parts, size_t pairs, T margin, bool legacy,
                                            const T* squared, const T* label, T divisor,
                                            const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(pair, part, parts, pairs) {
      T loss = squared[pair];
      if (trunc(label[pair]) == 0) {
        const T gap = at_least(margin - (legacy ? loss : sqrt(loss)), (T)0);
        loss = legacy ? gap : gap * gap;
      }
      sum += loss;
    }
    give_sum(sum, part, divisor, valid, out);
  }
}

// The gradients of a and b, of which one is the negative of the other; to_a, to_b: which are
// written.
// a, b, out_a, out_b: (pairs, size); label: (pairs).  epsilon: keeps them finite at distance 0.
extern "C" __global__ void contrastive_backward(size_t pairs, size_t size, T margin, T epsilon,
                                                bool legacy, const T* a, const T* b,
                                                const T* label, const T* dloss, T divisor,
                                                bool to_a, bool to_b, T* out_a, T* out_b) {
  const T weight = dloss[0] / divisor;
  EACH_ROW(pair, pairs) {
    const T squared = squared_distance(a, b, pair, size);
    T slope = 1;
    if (trunc(label[pair]) == 0) {
      const T distance = sqrt(squared);
      if (legacy)
        slope = squared < margin ? -1 : 0;
      else
        slope = -at_least(margin - distance, (T)0) / (distance + epsilon);
    }
    slope *= weight;
    for (size_t i = pair * size + threadIdx.x; i < (pair + 1) * size; i += BLOCK) {
      const T gradient = (a[i] - b[i]) * slope;
      if (to_a) out_a[i] = gradient;
      if (to_b) out_b[i] = -gradient;
    }
  }
}

// max(0, margin + near - far). near, far: (rows), the squared distances of a from p and n.
extern "C" __global__ void triplet_loss(size_t parts, size_t rows, T margin, const T* near,
                                        const T* far, T divisor, const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(row, part, parts, rows) sum += at_least(margin + near[row] - far[row], (T)0);
    give_sum(sum, part, divisor, valid, out);
  }
}

// n - p, p - a and a - n, weighted, the gradients of a, p and n; 0 in rows without a loss. to_a,
// to_p, to_n: which are written. a, p, n and their gradients: (rows, size).
extern "C" __global__ void triplet_backward(size_t rows, size_t size, T margin, const T* a,
                                            const T* p, const T* n, const T* dloss, T divisor,
                                            bool to_a, bool to_p, bool to_n, T* out_a, T* out_p,
                                            T* out_n) {
  const T weight = dloss[0] / divisor;
  EACH_ROW(row, rows) {
    const T near = squared_distance(a, p, row, size), far = squared_distance(a, n, row, size);
    const T slope = margin + near - far > 0 ? weight : 0;
    for (size_t i = row * size + threadIdx.x; i < (row + 1) * size; i += BLOCK) {
      const T anchor = a[i], like = p[i], unlike = n[i];
      if (to_a) out_a[i] = (unlike - like) * slope;
      if (to_p) out_p[i] = (like - anchor) * slope;
      if (to_n) out_n[i] = (anchor - unlike) * slope;
    }
  }
}

// 1 for pairs whose distance is below the margin exactly when they are alike, sim being 1. squared,
// sim: (pairs).
extern "C" __global__ void contrastive_accuracy(size_t parts, size_t pairs, T margin,
                                                const T* squared, const T* sim, T divisor,
                                                const T* valid, T* out) {
  EACH_ROW(part, parts) {
    T sum = 0;
    EACH_OF_PART(pair, part, parts, pairs)
      sum += (sqrt(squared[pair]) < margin) == (sim[pair] == 1) ? 1 : 0;
    give_sum(sum, part, divisor, valid, out);
  }
}
