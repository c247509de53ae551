// Attention of rows over a cache whose tail is a tree. A row visits the keys of its own path in the order of their
// positions, in chunks of 128 positions: what it computes depends on its own text alone, and is the same whether it was
// drafted on a branch or decoded token by token.
//
// Within a chunk every score is one sum over the head's features, weights are summed by position modulo the vectors'
// lanes, and values position by position; chunks are then merged in order. A row whose slots are not its positions (a
// branch) reads its scores from the tail's by slot, and its values slot by slot.
#pragma once

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <algorithm>
#include <type_traits>
#include <vector>

#include "norms.h"

constexpr int CHUNK = 128;
constexpr int MOST_QUERIES = 96;  // of one task
constexpr float NONE = -INFINITY;

// Of one query and chunk: the largest score and the sum of weights; the weighted values stand apart.
struct Part {
  float largest, sum;
};

struct Scratch {
  float scores[MOST_QUERIES][CHUNK];  // then weights, by position
  float branch[MOST_QUERIES][CHUNK];  // weights of positions whose slots have other numbers
  std::vector<float> tail;            // [queries, width]: scores by slot
  int64_t width;
  std::vector<float> merged;  // [head_dim]
  const float* queries[MOST_QUERIES];
  float* sums[MOST_QUERIES];
  Part* part[MOST_QUERIES];
  int row[MOST_QUERIES];
};

inline int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Scores of Q queries with the 16 keys of each of B blocks of the cache, to scores[q * ld + 16 * block + lane].
template <int Q, int B, class Number>
inline void score_tile(const float* const* queries, const Number* keys, int head_dim, float* scores, int64_t ld) {
  V sums[Q][B * PARTS];
  for (auto& query : sums)
    for (V& v : query) v = all(0.0f);
  for (int d = 0; d < head_dim; d++) {
    V key[B * PARTS];
    for (int i = 0; i < B * PARTS; i++)
      key[i] = widen(keys + int64_t(i / PARTS) * LANES * head_dim + d * LANES + i % PARTS * W);
    for (int q = 0; q < Q; q++) {
      V feature = all(queries[q][d]);
      for (int i = 0; i < B * PARTS; i++) sums[q][i] = fma(feature, key[i], sums[q][i]);
    }
  }
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < B * PARTS; i++) store(scores + q * ld + i * W, sums[q][i]);
}

template <int Q, class Number>
inline void score(const float* const* queries, const Number* keys, int head_dim, int blocks, float* scores, int64_t ld) {
  constexpr int B = W == 16 ? 4 : Q == 1 ? 2 : 1;
  int block = 0;
  for (; block + B <= blocks; block += B)
    score_tile<Q, B>(queries, keys + int64_t(block) * LANES * head_dim, head_dim, scores + block * LANES, ld);
  for (; block < blocks; block++)
    score_tile<Q, 1>(queries, keys + int64_t(block) * LANES * head_dim, head_dim, scores + block * LANES, ld);
}

// Adds to Q queries' sums, T vectors of them from feature d on, the values of positions times their weights, in order.
template <int Q, int T, class Number>
inline void mix_tile(const float (*weights)[CHUNK], int first, int end, const Number* values, int head_dim, int d,
                     float* const* sums) {
  V held[Q][T];
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < T; i++) held[q][i] = load(sums[q] + d + i * W);
  for (int p = first; p < end; p++) {
    V value[T];
    for (int i = 0; i < T; i++) value[i] = widen(values + int64_t(p) * head_dim + d + i * W);
    for (int q = 0; q < Q; q++) {
      V weight = all(weights[q][p]);
      for (int i = 0; i < T; i++) held[q][i] = fma(weight, value[i], held[q][i]);
    }
  }
  for (int q = 0; q < Q; q++)
    for (int i = 0; i < T; i++) store(sums[q] + d + i * W, held[q][i]);
}

template <int Q, class Number>
inline void mix(const float (*weights)[CHUNK], int first, int end, const Number* values, int head_dim,
                float* const* sums) {
  constexpr int T = Q > 2 ? (W == 8 ? 2 : 4) : (W == 16 ? 8 : 4);  // vectors that stay in registers
  constexpr int LESS = W == 16 && T == 8 ? 4 : 1;
  int d = 0;
  for (; d + T * W <= head_dim; d += T * W) mix_tile<Q, T>(weights, first, end, values, head_dim, d, sums);
  for (; d + LESS * W <= head_dim; d += LESS * W) mix_tile<Q, LESS>(weights, first, end, values, head_dim, d, sums);
  for (; d < head_dim; d += W) mix_tile<Q, 1>(weights, first, end, values, head_dim, d, sums);
}

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

// The weights of positions first to end - 1 (numbered within the chunk) in place of their scores, 0 elsewhere.
inline Part weigh(float* scores, int first, int end, float softcap) {
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
    store(scores + i, weight);
    total = total + weight;
  }
  std::fill(scores, scores + from, 0.0f);
  std::fill(scores + to, scores + CHUNK, 0.0f);
  return {peak, sum(total)};
}

struct Attention {
  const Model& m;
  const Layer& layer;
  const Rows& rows;
  const float* qkv;
  int64_t ld;
  Part* parts;  // [rows, heads, chunks]
  float* sums;  // [rows, heads, chunks, head_dim]
  int chunks;   // that any row sees

  int first_of(int r) const { return layer.window ? std::max(0, rows.positions[r] - layer.window + 1) : 0; }
  // The slot of a position that is beyond row r's shared ones.
  int slot(int r, int position) const { return rows.path[rows.path_start[r] + position - rows.shared[r]]; }

  // Rows [begin, end), one head of keys, one chunk of positions.
  template <class Number>
  void chunk(int head, int number, int begin, int end, Scratch& t) const {
    const int start = number * CHUNK, d = m.head_dim, group = m.heads / m.kv_heads;
    const Number* keys = static_cast<const Number*>(layer.keys) + int64_t(head) * m.capacity * d;
    const Number* values = static_cast<const Number*>(layer.values) + int64_t(head) * m.capacity * d;
    int count = 0, low = CHUNK, shared = 0;
    bool branches = false;
    for (int r = begin; r < end; r++) {
      if (rows.positions[r] < start || first_of(r) >= start + CHUNK) continue;
      low = std::min(low, std::max(first_of(r) - start, 0));
      shared = std::max(shared, std::min(rows.shared[r] - start, CHUNK));
      branches |= rows.shared[r] <= rows.positions[r] && rows.shared[r] < start + CHUNK;
      for (int h = head * group; h < (head + 1) * group; h++, count++) {
        const int64_t part = (int64_t(r) * m.heads + h) * chunks + number;
        t.queries[count] = qkv + r * ld + int64_t(h) * d;
        t.row[count] = r;
        t.part[count] = parts + part;
        t.sums[count] = sums + part * d;
        std::fill(t.sums[count], t.sums[count] + d, 0.0f);
      }
    }
    if (!count) return;
    low = low / LANES * LANES;
    const int blocks = (shared - low + LANES - 1) / LANES;
    by_tiles(count, [&](auto q, int n) {
      score<q>(t.queries + n, keys + int64_t(start + low) * d, d, blocks, t.scores[n] + low, CHUNK);
    });
    if (branches) score_tail(t, count, keys);
    for (int q = 0; q < count; q++) {
      const int r = t.row[q], end_of = std::min(rows.positions[r] - start + 1, CHUNK);
      const int own = std::min(std::max(rows.shared[r] - start, 0), end_of);
      const float* tail = t.tail.data() + q * t.width - rows.prefix / LANES * LANES;
      for (int i = own; i < end_of; i++) t.scores[q][i] = tail[slot(r, start + i)];
      *t.part[q] = weigh(t.scores[q], std::max(first_of(r) - start, 0), end_of, m.attention_softcap);
      std::copy(t.scores[q] + own, t.scores[q] + end_of, t.branch[q] + own);
      std::fill(t.scores[q] + own, t.scores[q] + end_of, 0.0f);  // the slots of these numbers are others'
    }
    by_tiles(count, [&](auto q, int n) {
      mix<q>(t.scores + n, low, shared, values + int64_t(start) * d, d, t.sums + n);
    });
    for (int q = 0; branches && q < count; q++) {
      const int r = t.row[q], end_of = std::min(rows.positions[r] - start + 1, CHUNK);
      for (int i = std::max(rows.shared[r] - start, 0); i < end_of; i++)
        for (int j = 0; j < d; j += W) {
          V value = widen(values + int64_t(slot(r, start + i)) * d + j);
          store(t.sums[q] + j, fma(all(t.branch[q][i]), value, load(t.sums[q] + j)));
        }
    }
  }

  // Scores with all keys of the tail, by slot, from the multiple of LANES at or before its first.
  template <class Number>
  void score_tail(Scratch& t, int count, const Number* keys) const {
    const int first = rows.prefix / LANES * LANES, blocks = (rows.prefix + rows.tail - first + LANES - 1) / LANES;
    t.width = int64_t(blocks) * LANES;
    if (int64_t(t.tail.size()) < count * t.width) t.tail.resize(count * t.width);
    by_tiles(count, [&](auto q, int n) {
      score<q>(t.queries + n, keys + int64_t(first) * m.head_dim, m.head_dim, blocks, t.tail.data() + n * t.width,
               t.width);
    });
  }

  // One row's head: its chunks in order, to result [head_dim].
  template <class Result>
  void merge(int r, int head, Result* result, float* y) const {
    const int first = first_of(r) / CHUNK, last = rows.positions[r] / CHUNK;
    const int64_t at = (int64_t(r) * m.heads + head) * chunks;
    Part total = parts[at + first];
    std::copy(sums + (at + first) * m.head_dim, sums + (at + first + 1) * m.head_dim, y);
    for (int c = first + 1; c <= last; c++) {
      const Part part = parts[at + c];
      const float peak = std::max(total.largest, part.largest);
      const V before = exponential(all(total.largest - peak)), now = exponential(all(part.largest - peak));
      float factors[2][W];
      store(factors[0], before);
      store(factors[1], now);
      total = {peak, std::fma(total.sum, factors[0][0], part.sum * factors[1][0])};
      const float* more = sums + (at + c) * m.head_dim;
      for (int j = 0; j < m.head_dim; j += W) store(y + j, fma(load(y + j), before, load(more + j) * now));
    }
    for (int j = 0; j < m.head_dim; j += W) store(result + j, load(y + j) / all(total.sum));
  }

  // All rows, shared among the threads of a region, to y [rows, heads * head_dim].
  template <class Result>
  void run(Result* y, Scratch* scratch) const {
    const int most = std::max(1, MOST_QUERIES / (m.heads / m.kv_heads));
    const int blocks = (rows.count + most - 1) / most;
#pragma omp for schedule(dynamic)
    for (int task = 0; task < m.kv_heads * chunks * blocks; task++) {
      const int begin = task % blocks * most, end = std::min(rows.count, begin + most), number = task / blocks % chunks;
      Scratch& t = scratch[thread_number()];
      if (m.half_cache)
        chunk<uint16_t>(task / blocks / chunks, number, begin, end, t);
      else
        chunk<float>(task / blocks / chunks, number, begin, end, t);
    }
#pragma omp for schedule(static)
    for (int task = 0; task < rows.count * m.heads; task++) {
      std::vector<float>& held = scratch[thread_number()].merged;
      if (int(held.size()) < m.head_dim) held.resize(m.head_dim);
      merge(task / m.heads, task % m.heads, y + int64_t(task) * m.head_dim, held.data());
    }
  }
};
