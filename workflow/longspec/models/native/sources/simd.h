// Vectors of 32-bit floats by the processor's own instructions. Every operation rounds each lane by itself, and a fused
// multiply-add rounds once on every processor, so that a lane's result does not depend on how many lanes there are.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
using V = __m512;
using U = __m512i;
constexpr int W = 16;          // lanes
constexpr int MOST_ROWS = 12;  // rows of a product that are computed together
constexpr int TILE = 6;        // queries of attention that are computed together
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
inline V all(float x) { return _mm512_set1_ps(x); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V nearest(V a) { return _mm512_roundscale_ps(a, 8); }
inline V power_of_two(V n) {  // n whole, of a normal number's exponent
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
inline V zero_below(V x, V limit, V v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), v); }
inline U load_pairs(const uint32_t* p) { return _mm512_loadu_si512(p); }
inline V low(U pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline V high(U pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(int(0xffff0000u)))); }
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
using V = __m256;
using U = __m256i;
constexpr int W = 8;
constexpr int MOST_ROWS = 3;
constexpr int TILE = 3;
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
inline V all(float x) { return _mm256_set1_ps(x); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V nearest(V a) { return _mm256_round_ps(a, 8); }
inline V power_of_two(V n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline V zero_below(V x, V limit, V v) { return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_GE_OQ), v); }
inline U load_pairs(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const U*>(p)); }
inline V low(U pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
inline V high(U pairs) { return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(int(0xffff0000u)))); }
#else
// GCC's and Clang's vector types: NEON's registers on ARM, whatever there is elsewhere.
typedef float V __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
constexpr int W = 4;
constexpr int MOST_ROWS = 3;
constexpr int TILE = 3;
inline V load(const float* p) { V v; memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, V v) { memcpy(p, &v, sizeof v); }
inline V all(float x) { return V{x, x, x, x}; }
inline V fma(V a, V b, V c) {
  for (int i = 0; i < W; i++) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
}
inline V max(V a, V b) { return a > b ? a : b; }
inline V nearest(V a) {
  for (int i = 0; i < W; i++) a[i] = std::nearbyint(a[i]);
  return a;
}
inline V power_of_two(V n) { return (V)((__builtin_convertvector(n, I) + 127) << 23); }
inline V zero_below(V x, V limit, V v) { return x >= limit ? v : V{}; }
inline U load_pairs(const uint32_t* p) { U v; memcpy(&v, p, sizeof v); return v; }
inline V low(U pairs) { return (V)(pairs << 16); }
inline V high(U pairs) { return (V)(pairs & 0xffff0000u); }
#endif

// Products of bfloat16 pairs, summed in float32 lane by lane, where the processor has an instruction for it.
#if defined(__AVX512F__) && defined(__AVX512BF16__)
constexpr bool DOTS = true;
inline V dot(U a, U b, V c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
inline U all_pairs(const uint16_t* p) {
  uint32_t pair;
  memcpy(&pair, p, 4);
  return _mm512_set1_epi32(int(pair));
}
inline void store(uint16_t* p, V v) {  // to the nearest bfloat16
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(v));
}
inline U pairs_of(V low, V high) {  // of floats that are bfloat16 numbers
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(low), 16), _mm512_castps_si512(high));
}
#else
constexpr bool DOTS = false;
inline V dot(U, U, V c) { return c; }
inline U all_pairs(const uint16_t*) { return U{}; }
inline void store(uint16_t*, V) {}
inline U pairs_of(V, V) { return U{}; }
#endif

// Words of two numbers each, as they are loaded.
inline const float* words(const float* p) { return p; }
inline const uint32_t* words(const uint16_t* p) { return reinterpret_cast<const uint32_t*>(p); }

constexpr int LANES = 16;       // keys of a block of the cache, whatever the processor's vectors are
constexpr int PARTS = LANES / W;  // vectors of such a block

inline void narrow(float x, float* y) { *y = x; }
inline void narrow(float x, uint16_t* y) {  // to the nearest bfloat16, ties to even, as torch rounds
  uint32_t bits;
  memcpy(&bits, &x, 4);
  *y = x != x ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The sum of W lanes in a fixed order: halves are added until one number is left.
inline float sum(V v) {
  float x[W];
  store(x, v);
  for (int half = W / 2; half; half /= 2)
    for (int i = 0; i < half; i++) x[i] += x[i + half];
  return x[0];
}

inline float largest(V v) {
  float x[W];
  store(x, v);
  for (int i = 1; i < W; i++) x[0] = x[i] > x[0] ? x[i] : x[0];
  return x[0];
}

// e to the x, within 2 units in the last place; 0 below -87, for x at most 88. Cody and Waite's reduction, and the
// minimax polynomial of Cephes' expf.
inline V exponential(V x) {
  V n = nearest(x * all(1.44269504088896341f));
  V r = fma(n, all(-0.693359375f), x);
  r = fma(n, all(2.12194440e-4f), r);
  V p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(p, r * r, r + all(1.0f));
  V limit = all(-87.0f);
  return zero_below(x, limit, p * power_of_two(max(n, all(-126.0f))));
}

inline V sigmoid(V x) { return all(1.0f) / (all(1.0f) + exponential(-max(x, all(-87.0f)))); }
inline V tanh(V x) { return fma(all(-2.0f), sigmoid(x * all(-2.0f)), all(1.0f)); }
