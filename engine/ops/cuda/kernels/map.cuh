// Functions of single elements over whole blobs, 16 bytes at a time. To be included after
// common.cuh.

const int LANES = 16 / sizeof(T);

struct alignas(16) Vector {
  T lane[LANES];
};

// Whether vectors can be read and written there.
template <class... P>
__device__ inline bool aligned(P... pointers) {
  return (((size_t)pointers | ...) % sizeof(Vector)) == 0;
}

template <int W>
struct Lanes {
  T lane[W];
};

// W elements. WHOLE: as one vector, which they are.
template <int W, bool WHOLE>
__device__ inline Lanes<W> load(const T* from) {
  Lanes<W> read;
  if (WHOLE) {
    const Vector vector = *(const Vector*)from;
    for (int lane = 0; lane < W; ++lane) read.lane[lane] = vector.lane[lane];
  } else {
    for (int lane = 0; lane < W; ++lane) read.lane[lane] = from[lane];
  }
  return read;
}

// The place of elements for functions that are the same everywhere.
struct Anywhere {
  __device__ void next() {}
};

// The channel of element i, and of those after it, where a blob is seen as (outer, size, inner).
struct Channel {
  size_t size, inner, channel, rest;

  __device__ Channel(size_t i, size_t size, size_t inner) : size(size), inner(inner) {
    const size_t block = i / inner;
    rest = i - block * inner;
    channel = block % size;
  }
  __device__ void next() {
    if (++rest < inner) return;
    rest = 0;
    if (++channel == size) channel = 0;
  }
};

// The functions of the lanes of vectors, of which the first is at a place.
template <int K, class P, class F, class... V>
__device__ inline void map_lanes(P place, F& f, Vector* made, const V&... x) {
#pragma unroll
  for (int lane = 0; lane < LANES; ++lane) {
    T results[K];
    f(place, results, x.lane[lane]...);
    for (int k = 0; k < K; ++k) made[k].lane[lane] = results[k];
    place.next();
  }
}

// For all elements i: calls f(place, results, x[i]...), and writes results[k] to outs[k][i].
// start(i) gives the place of element i. outs may be among the x.
template <int K, class P, class F, class... X>
__device__ inline void map_places(size_t count, P start, F f, T* const (&outs)[K], const X*... x) {
  bool whole = aligned(x..., (const T*)0);
  for (int k = 0; k < K; ++k) whole = whole && aligned(outs[k]);
  const size_t vectors = whole ? count / LANES : 0;
  EACH(v, vectors) {
    Vector made[K];
    map_lanes<K>(start(v * LANES), f, made, Vector(((const Vector*)x)[v])...);
    for (int k = 0; k < K; ++k) ((Vector*)outs[k])[v] = made[k];
  }
  EACH(rest, count - vectors * LANES) {
    const size_t i = vectors * LANES + rest;
    T results[K];
    f(start(i), results, x[i]...);
    for (int k = 0; k < K; ++k) outs[k][i] = results[k];
  }
}

// out[i] = f(x[i]...)
template <class F, class... X>
__device__ inline void map(size_t count, F f, T* out, const X*... x) {
  T* const outs[] = {out};
  map_places(
      count, [](size_t) { return Anywhere(); },
      [&](const Anywhere&, T* results, X... at) { results[0] = f(at...); }, outs, x...);
}

// f(results, x[i]...) sets the two elements first[i] and second[i].
template <class F, class... X>
__device__ inline void map_pair(size_t count, F f, T* first, T* second, const X*... x) {
  T* const outs[] = {first, second};
  map_places(
      count, [](size_t) { return Anywhere(); },
      [&](const Anywhere&, T* results, X... at) { f(results, at...); }, outs, x...);
}

// out[i] = f(c, x[i]...), c the channel of element i
template <class F, class... X>
__device__ inline void map_channels(size_t count, size_t size, size_t inner, F f, T* out,
                                    const X*... x) {
  T* const outs[] = {out};
  map_places(
      count, [=](size_t i) { return Channel(i, size, inner); },
      [&](const Channel& at, T* results, X... here) { results[0] = f(at.channel, here...); }, outs,
      x...);
}

// The same with one x, which is written to `kept` too: out may be x.
template <class F>
__device__ inline void map_channels_kept(size_t count, size_t size, size_t inner, F f, T* out,
                                         T* kept, const T* x) {
  T* const outs[] = {out, kept};
  map_places(
      count, [=](size_t i) { return Channel(i, size, inner); },
      [&](const Channel& at, T* results, T here) {
        results[0] = f(at.channel, here);
        results[1] = here;
      },
      outs, x);
}
