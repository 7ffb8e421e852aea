// Boxes (xmin, ymin, xmax, ymax) as fractions of the image, and their locations relative to priors:
// the arithmetic of numpy/boxes.py. code: 0 CORNER, 1 CENTER_SIZE, 2 CORNER_SIZE; in_target: the
// variances are 1. Include common.cuh before.

#define TRUTH 8  // numbers in a row of the truth: image, class, instance, box, difficult
#define FREE -1
#define IGNORED -2

struct Box {
  T side[4];
};

__device__ inline Box box_at(const T* from) { return {{from[0], from[1], from[2], from[3]}}; }

// The class of a row that has been checked.
__device__ inline int class_of_row(const T* truth, long long row) {
  return (int)trunc(truth[row * TRUTH + 1]);
}

// nan where a side is nan.
__device__ inline T area_of(Box box) {
  const T width = box.side[2] - box.side[0], height = box.side[3] - box.side[1];
  return (width < 0 ? (T)0 : width) * (height < 0 ? (T)0 : height);
}

// nan where one of them is nan.
__device__ inline T greatest(T a, T b) { return a > b || a != a ? a : b; }

// Intersection over union; 0 where the boxes do not meet, and where one has nan.
__device__ inline T overlap_of(Box a, Box b) {
  T common = 1;
  for (int axis = 0; axis < 2; ++axis) {
    const T low = greatest(a.side[axis], b.side[axis]);
    const T high = -greatest(-a.side[axis + 2], -b.side[axis + 2]);
    if (!(high > low)) return 0;
    common *= high - low;
  }
  return common > 0 ? common / (area_of(a) + area_of(b) - common) : (T)0;
}

// Whether a side lies outside of the image.
__device__ inline bool is_outside(T side) { return side < 0 || side > 1; }

__device__ inline bool crosses(Box box) {
  return is_outside(box.side[0]) || is_outside(box.side[1]) || is_outside(box.side[2]) ||
         is_outside(box.side[3]);
}

__device__ inline Box encode(Box prior, const T* variance, Box box, int code, bool in_target) {
  Box location;
  for (int axis = 0; axis < 2; ++axis) {
    const T low = prior.side[axis], high = prior.side[axis + 2], size = high - low;
    T first = box.side[axis] - low, last = box.side[axis + 2] - high;
    if (code == 1) {
      first = ((box.side[axis] + box.side[axis + 2]) / 2 - (low + high) / 2) / size;
      last = log((box.side[axis + 2] - box.side[axis]) / size);
    } else if (code == 2) {
      first /= size;
      last /= size;
    }
    location.side[axis] = in_target ? first : first / variance[axis];
    location.side[axis + 2] = in_target ? last : last / variance[axis + 2];
  }
  return location;
}

__device__ inline Box decode(Box prior, const T* variance, const T* location, int code,
                             bool in_target) {
  Box box;
  for (int axis = 0; axis < 2; ++axis) {
    const T low = prior.side[axis], high = prior.side[axis + 2], size = high - low;
    T first = location[axis], last = location[axis + 2];
    if (!in_target) {
      first *= variance[axis];
      last *= variance[axis + 2];
    }
    if (code == 1) {
      const T centre = first * size + (low + high) / 2, half = exp(last) * size / 2;
      box.side[axis] = centre - half;
      box.side[axis + 2] = centre + half;
    } else {
      box.side[axis] = (code == 2 ? first * size : first) + low;
      box.side[axis + 2] = (code == 2 ? last * size : last) + high;
    }
  }
  return box;
}

// The greatest of some numbers, with its place; of equal ones the lowest. place -1: none.
struct Best {
  T value;
  long long place;
};

__device__ inline Best better(Best one, Best other) {
  if (one.place < 0 || other.place < 0) return one.place < 0 ? other : one;
  if (one.value != other.value) return one.value > other.value ? one : other;
  return one.place < other.place ? one : other;
}

// The best of all threads in the block, for all of them. All threads must call it.
__device__ inline Best block_best(Best one) {
  __shared__ T values[32];
  __shared__ long long places[32];
  for (int offset = 16; offset; offset /= 2)
    one = better(one, {__shfl_xor_sync(~0u, one.value, offset),
                       __shfl_xor_sync(~0u, one.place, offset)});
  __syncthreads();  // those of an earlier call have been read
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = one.value;
    places[threadIdx.x / 32] = one.place;
  }
  __syncthreads();
  one = {values[0], places[0]};
  for (int warp = 1; warp < BLOCK / 32; ++warp) one = better(one, {values[warp], places[warp]});
  return one;
}
