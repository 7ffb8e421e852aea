// How the elements of a channel are shared out where (outer, channels, inner) ones are summed up.
// To be included after common.cuh and division.cuh.

// The units of W elements of a part of a channel that a thread takes, in turn. Their order does not
// depend on where the memory begins. units: of one sample in one channel.
template <int W>
struct Walk {
  size_t at, end, channel, channels, units;
  Division here, step;  // in samples, and units of one

  // row: of (channels, parts)
  __device__ Walk(size_t row, size_t parts, size_t outer, size_t channels, size_t inner)
      : channels(channels), units(inner / W) {
    const Division of = divide(row, parts);
    const size_t total = outer * units;
    channel = of.quotient;
    at = divide(of.rest * total, parts).quotient + threadIdx.x;
    end = divide((of.rest + 1) * total, parts).quotient;
    here = divide(at, units), step = divide(BLOCK, units);
  }
  // How many elements are to come.
  __device__ size_t left() const { return at < end ? (end - at + BLOCK - 1) / BLOCK * W : 0; }
  // Where the first element of a unit lies.
  __device__ size_t element() const {
    return ((here.quotient * channels + channel) * units + here.rest) * W;
  }
  __device__ void next() {
    at += BLOCK, here.quotient += step.quotient, here.rest += step.rest;
    if (here.rest >= units) here.rest -= units, ++here.quotient;
  }
};
