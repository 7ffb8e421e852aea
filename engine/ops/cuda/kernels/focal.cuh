// The focal loss of p, the probability of a label, and what its gradient is made of. Include
// loss_sums.cuh before.

// -alpha (1 - p)^gamma log p
__device__ inline T focal_loss_of(T p, T alpha, T gamma) {
  return -alpha * pow(at_least(1 - p, (T)0), gamma) * log(at_least(p, SMALLEST));
}

// p times the derivative of focal_loss_of by p: the gradient of the scores is that times (1 - p) at
// the label, and times -p of the class elsewhere. Finite at p = 0 and at p = 1.
__device__ inline T focal_slope(T p, T alpha, T gamma) {
  const T rest = at_least(1 - p, (T)0);
  const T ratio = rest > 0 ? log(at_least(p, SMALLEST)) / rest : (T)-1;  // the limit at 1 is -1
  return alpha * pow(rest, gamma) * (p * ratio * gamma - 1);
}
