// Random words as a function of position: Philox4x64-10, as engine/core/random.py takes them from
// numpy. To be included after common.cuh.
//
// Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

struct Words {
  u64 word[4];
};

// Words 4 block ... 4 block + 3 of the stream with that key at a position.
__device__ inline Words random_words(u64 block, u64 position, u64 key0, u64 key1) {
  u64 c0 = block + 1, c1 = 0, c2 = position, c3 = 0;  // numpy counts up before it draws
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u64 by0 = 0xD2E7470EE14C6C93ull, by2 = 0xCA5A826395121157ull;
    const u64 high0 = __umul64hi(by0, c0), low0 = by0 * c0;
    const u64 high2 = __umul64hi(by2, c2), low2 = by2 * c2;
    c0 = high2 ^ c1 ^ key0;
    c1 = low2;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B97F4A7C15ull;
    key1 += 0xBB67AE8584CAA73Bull;
  }
  return {{c0, c1, c2, c3}};
}
