// Blocks of the work of attention: scores of queries with keys, weights of scores, sums of values. Numbers are multiplied
// in pairs (products.h): two features of a key, the values of two positions.
#pragma once

#include <algorithm>
#include <type_traits>

#include "norms.h"

constexpr int CHUNK = 128;
constexpr float NONE = -INFINITY;

// Of one query and chunk: the largest score and the sum of weights; the weighted values stand apart.
struct Part {
  float largest, sum;
};

// Scores of Q queries with the 16 keys of each of B blocks of the cache, to scores[q * ld + 16 * block + lane].
template <int Q, int B, class Operand, class Number>
inline void score_tile(const Operand* const* queries, const Number* keys, int head_dim, float* scores, int64_t ld) {
  V sums[Q][B * PARTS];
  for (auto& query : sums)
    for (V& v : query) v = all(0.0f);
  for (int d = 0; d < head_dim; d += 2)
    for (int b = 0; b < B; b++) {
      const auto* pairs = words(keys + (int64_t(b) * head_dim + d) * LANES);
      for (int i = 0; i < PARTS; i++)
        for (int q = 0; q < Q; q++) add_pair(queries[q] + d, pairs + i * W, LANES, sums[q][b * PARTS + i]);
    }
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < B * PARTS; i++) store(scores + q * ld + i * W, sums[q][i]);
}

template <int Q, class Operand, class Number>
inline void score(const Operand* const* queries, const Number* keys, int head_dim, int blocks, float* scores, int64_t ld) {
  constexpr int B = W == 16 ? 4 : Q == 1 ? 2 : 1;
  int block = 0;
  for (; block + B <= blocks; block += B)
    score_tile<Q, B>(queries, keys + int64_t(block) * LANES * head_dim, head_dim, scores + block * LANES, ld);
  for (; block < blocks; block++)
    score_tile<Q, 1>(queries, keys + int64_t(block) * LANES * head_dim, head_dim, scores + block * LANES, ld);
}

// Adds to Q queries' sums, T vectors of them from feature d on, the values of positions times their weights, in order.
// `first` is even, and where `end` is not, the weight of the position behind is 0.
template <int Q, int T, class Operand, class Number>
inline void mix_tile(const Operand (*weights)[CHUNK], int first, int end, const Number* values, int head_dim, int d,
                     float* const* sums) {
  V held[Q][T];
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < T; i++) held[q][i] = load(sums[q] + d + i * W);
  for (int p = first; p < end; p += 2) {
    const auto* pairs = words(values + value_at(values, p, d, head_dim));
    for (int i = 0; i < T; i++)
      for (int q = 0; q < Q; q++) add_pair(weights[q] + p, pairs + i * W, head_dim, held[q][i]);
  }
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < T; i++) store(sums[q] + d + i * W, held[q][i]);
}

template <int Q, class Operand, class Number>
inline void mix(const Operand (*weights)[CHUNK], int first, int end, const Number* values, int head_dim,
                float* const* sums) {
  constexpr int T = Q > 2 ? (W == 8 ? 2 : 4) : (W == 16 ? 8 : 4);  // vectors that stay in registers
  constexpr int LESS = W == 16 && T == 8 ? 4 : 1;
  int d = 0;
  for (; d + T * W <= head_dim; d += T * W) mix_tile<Q, T>(weights, first, end, values, head_dim, d, sums);
  for (; d + LESS * W <= head_dim; d += LESS * W) mix_tile<Q, LESS>(weights, first, end, values, head_dim, d, sums);
  for (; d < head_dim; d += W) mix_tile<Q, 1>(weights, first, end, values, head_dim, d, sums);
}

// Values of one slot, vector by vector, as floats.
inline V value(const float* values, int slot, int d, int head_dim) { return load(values + value_at(values, slot, d, head_dim)); }
inline V value(const uint16_t* values, int slot, int d, int head_dim) {
  U pair = load_pairs(words(values + value_at(values, slot / 2 * 2, d, head_dim)));
  return slot % 2 ? high(pair) : low(pair);
}

// The same sum as add_pair's of the values of two positions that lie in any two slots.
inline void add_two(const float* x, V first, V second, V& sum) { sum = fma(all(x[1]), second, fma(all(x[0]), first, sum)); }
inline void add_two(const uint16_t* x, V first, V second, V& sum) { sum = dot(pairs_of(first, second), all_pairs(x), sum); }

// Calls f(integral_constant<Q>, first query) for all queries, at most TILE at a time.
template <class F>
inline void by_tiles(int count, F f) {
  for (int q = 0; q < count; q += TILE) {
    switch (std::min(TILE, count - q)) {
      case 1: f(std::integral_constant<int, 1>(), q); break;
      case 2: f(std::integral_constant<int, 2>(), q); break;
      case 3: f(std::integral_constant<int, 3>(), q); break;
#if defined(__AVX512F__)
      case 4: f(std::integral_constant<int, 4>(), q); break;
      case 5: f(std::integral_constant<int, 5>(), q); break;
      case 6: f(std::integral_constant<int, 6>(), q); break;
#endif
    }
  }
}

// The weights of positions first to end - 1 (numbered within the chunk), 0 elsewhere. Scores are overwritten.
template <class Operand>
inline Part weigh(float* scores, int first, int end, float softcap, Operand* weights) {
  const int from = first / W * W, to = (end + W - 1) / W * W;
  if (softcap > 0)
    for (int i = from; i < to; i += W) store(scores + i, all(softcap) * tanh(load(scores + i) * all(1 / softcap)));
  for (int i = from; i < first; i++) scores[i] = NONE;
  for (int i = end; i < to; i++) scores[i] = NONE;
  V most = all(NONE), total = all(0.0f);
  for (int i = from; i < to; i += W) most = max(most, load(scores + i));
  const float peak = largest(most);
  for (int i = from; i < to; i += W) {
    V weight = exponential(load(scores + i) - all(peak));
    store(weights + i, weight);
    total = total + weight;
  }
  std::fill(weights, weights + from, Operand(0));
  std::fill(weights + to, weights + CHUNK, Operand(0));
  return {peak, sum(total)};
}
