// Division of indices, with the rest.

struct Division {
  size_t quotient, rest;
};

// Of 32 bits where the numbers allow, which takes a fraction of the time.
__device__ inline Division divide(size_t number, size_t by) {
  if ((number | by) >> 32 == 0) {
    const unsigned quotient = (unsigned)number / (unsigned)by;
    return {quotient, (unsigned)number - quotient * (unsigned)by};
  }
  return {number / by, number % by};
}
