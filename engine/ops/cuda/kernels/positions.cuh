// Where the elements of (outer, size, inner) ones lie. A position is one of outer * inner: it has
// `size` elements, its classes.

// The place of the first element of a position; the others follow `inner` apart.
__device__ inline size_t start_of(size_t position, size_t size, size_t inner) {
  return inner == 1 ? position * size : position / inner * size * inner + position % inner;
}

// The position of the element at place i, and, `class_at`, which of its elements it is.
__device__ inline size_t position_of(size_t i, size_t size, size_t inner) {
  return inner == 1 ? i / size : i / (size * inner) * inner + i % inner;
}

__device__ inline size_t class_at(size_t i, size_t size, size_t inner) {
  return i / inner % size;
}
