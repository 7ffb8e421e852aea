// Class numbers kept as floats. label: (positions) elements.

// The class of a position, the label cut to an integer; -1 where it counts for nothing: where it is
// `ignore` and `ignores` is true, and where it is no class, of which `watch` is told. number: of
// who refuses it (Watch.add).
__device__ inline long long class_of(const T* label, size_t position, size_t classes, bool ignores,
                                     int ignore, u64 number, u64* watch) {
  const T cut = trunc(label[position]);
  if (ignores && cut == (T)ignore) return -1;
  if (cut >= 0 && cut < (T)classes) return (long long)cut;
  report(watch, number, position, label[position]);
  return -1;
}
