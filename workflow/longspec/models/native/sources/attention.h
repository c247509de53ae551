// Attention of rows over a cache whose tail is a tree. A row visits the keys of its own path in the order of their
// positions, in chunks of 128 positions: what it computes depends on its own text alone, and is the same whether it was
// drafted on a branch or decoded token by token.
//
// Within a chunk every score is one sum over the head's features, weights are summed by position modulo the vectors'
// lanes, and values two positions at a time; chunks are then merged in order. A row whose slots are not its positions (a
// branch) reads its scores from the tail's by slot, and its values slot by slot.
#pragma once

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <vector>

#include "attention_tiles.h"

constexpr int MOST_QUERIES = 96;  // of one task

// What queries and weights are multiplied as.
template <class Operand>
struct Operands {
  std::vector<Operand> queries;  // [queries, head_dim]
  const Operand* query[MOST_QUERIES];
  Operand weights[MOST_QUERIES][CHUNK];  // by position
  Operand branch[MOST_QUERIES][CHUNK];   // of positions whose slots have other numbers
};

struct Scratch {
  Operands<float> floats;
  Operands<uint16_t> halves;
  float scores[MOST_QUERIES][CHUNK];
  std::vector<float> tail;  // [queries, width]: scores by slot
  int64_t width;
  std::vector<float> merged;  // [head_dim]
  float* sums[MOST_QUERIES];
  Part* part[MOST_QUERIES];
  int row[MOST_QUERIES];

  template <class Operand>
  Operands<Operand>& operands() {
    if constexpr (std::is_same<Operand, float>::value)
      return floats;
    else
      return halves;
  }
};

inline int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Rows [begin, end) of one text, whose queries of one head of keys are one task.
struct Block {
  const Text* text;
  int begin, end;
};

// All rows of a step in blocks of nearly the same size.
inline void divide(const Model& m, const Rows& rows, std::vector<Block>& blocks) {
  const int most = std::max(1, MOST_QUERIES / (m.heads / m.kv_heads));
  blocks.clear();
  for (int i = 0; i < rows.text_count; i++) {
    const Text& text = rows.texts[i];
    for (int begin = text.begin; begin < text.end; begin += most)
      blocks.push_back({&text, begin, std::min(text.end, begin + most)});
  }
}

template <class Operand>
struct Attention {
  const Model& m;
  const Layer& layer;
  const Rows& rows;
  const float* qkv;
  int64_t ld;
  Part* parts;  // [rows, heads, chunks]
  float* sums;  // [rows, heads, chunks, head_dim]
  int chunks;   // that any row sees
  const std::vector<Block>& blocks;

  int first_of(int r) const { return layer.window ? std::max(0, rows.positions[r] - layer.window + 1) : 0; }
  int slot(int r, int position) const {
    const int behind = position - rows.shared[r];
    return behind < 0 ? position : rows.path[rows.path_start[r] + behind];
  }

  // The rows of a block, one head of keys, one chunk of positions.
  template <class Number>
  void chunk(const Block& block, int head, int number, Scratch& t) const {
    const int start = number * CHUNK, d = m.head_dim, begin = block.begin, end = block.end;
    const Text& text = *block.text;
    const int64_t at = (int64_t(text.cache) * m.kv_heads + head) * m.capacity * d;
    const Number* keys = static_cast<const Number*>(layer.keys) + at;
    const Number* values = static_cast<const Number*>(layer.values) + at;
    int low = CHUNK, shared = 0;
    bool branches = false;
    for (int r = begin; r < end; r++) {
      if (rows.positions[r] < start || first_of(r) >= start + CHUNK) continue;
      low = std::min(low, std::max(first_of(r) - start, 0));
      shared = std::max(shared, std::min(rows.shared[r] - start, CHUNK));
      branches |= rows.shared[r] <= rows.positions[r] && rows.shared[r] < start + CHUNK;
    }
    const int count = gather(head, number, begin, end, t);
    if (!count) return;
    auto& o = t.operands<Operand>();
    low = low / LANES * LANES;
    const int blocks = (shared - low + LANES - 1) / LANES;
    by_tiles(count, [&](auto q, int n) {
      score<q>(o.query + n, keys + int64_t(start + low) * d, d, blocks, t.scores[n] + low, CHUNK);
    });
    if (branches) score_tail(text, t, count, keys);
    for (int q = 0; q < count; q++) weigh_row(text, t, q, start, branches);
    by_tiles(count, [&](auto q, int n) {
      mix<q>(o.weights + n, low, shared, values + int64_t(start) * d, d, t.sums + n);
    });
    for (int q = 0; branches && q < count; q++) mix_branch(t, q, start, values);
  }

  // The queries of a task; returns how many there are.
  int gather(int head, int number, int begin, int end, Scratch& t) const {
    const int start = number * CHUNK, d = m.head_dim, group = m.heads / m.kv_heads;
    auto& o = t.operands<Operand>();
    if (int(o.queries.size()) < MOST_QUERIES * d) o.queries.resize(MOST_QUERIES * d);
    int count = 0;
    for (int r = begin; r < end; r++) {
      if (rows.positions[r] < start || first_of(r) >= start + CHUNK) continue;
      for (int h = head * group; h < (head + 1) * group; h++, count++) {
        const int64_t part = (int64_t(r) * m.heads + h) * chunks + number;
        Operand* query = o.queries.data() + int64_t(count) * d;
        for (int i = 0; i < d; i += W) store(query + i, load(qkv + r * ld + int64_t(h) * d + i));
        o.query[count] = query;
        t.row[count] = r;
        t.part[count] = parts + part;
        t.sums[count] = sums + part * d;
        std::fill(t.sums[count], t.sums[count] + d, 0.0f);
      }
    }
    return count;
  }

  // Of a row's positions in a chunk: the end, and from where on two positions may lie in any slots; even.
  int end_of(int r, int start) const { return std::min(rows.positions[r] - start + 1, CHUNK); }
  int own_of(int r, int start) const {
    const int end = end_of(r, start), own = std::max(rows.shared[r] - start, 0);
    return own >= end ? (end + 1) / 2 * 2 : own / 2 * 2;
  }

  // The weights of a query's scores; those of a branch stand apart, since the slots of their numbers are others'.
  void weigh_row(const Text& text, Scratch& t, int q, int start, bool branches) const {
    auto& o = t.operands<Operand>();
    const int r = t.row[q], end = end_of(r, start), own = own_of(r, start), last = (end + 1) / 2 * 2;
    if (branches) {
      const float* tail = t.tail.data() + q * t.width - text.prefix / LANES * LANES;
      for (int i = std::max(rows.shared[r] - start, 0); i < end; i++) t.scores[q][i] = tail[slot(r, start + i)];
    }
    *t.part[q] = weigh(t.scores[q], std::max(first_of(r) - start, 0), end, m.attention_softcap, o.weights[q]);
    if (own == last) return;
    std::copy(o.weights[q] + own, o.weights[q] + last, o.branch[q] + own);
    std::fill(o.weights[q] + own, o.weights[q] + last, Operand(0));
  }

  // Adds the values of a branch.
  template <class Number>
  void mix_branch(Scratch& t, int q, int start, const Number* values) const {
    const int r = t.row[q], end = end_of(r, start), d = m.head_dim;
    const auto* weights = t.operands<Operand>().branch[q];
    for (int i = own_of(r, start); i < end; i += 2) {
      const int one = slot(r, start + i), other = i + 1 < end ? slot(r, start + i + 1) : one;  // whose weight is 0
      for (int j = 0; j < d; j += W) {
        V sum = load(t.sums[q] + j);
        add_two(weights + i, value(values, one, j, d), value(values, other, j, d), sum);
        store(t.sums[q] + j, sum);
      }
    }
  }

  // Scores with all keys of the tail, by slot, from the multiple of LANES at or before its first.
  template <class Number>
  void score_tail(const Text& text, Scratch& t, int count, const Number* keys) const {
    const int first = text.prefix / LANES * LANES, tiles = (text.prefix + text.tail - first + LANES - 1) / LANES;
    t.width = int64_t(tiles) * LANES;
    if (int64_t(t.tail.size()) < count * t.width) t.tail.resize(count * t.width);
    by_tiles(count, [&](auto q, int n) {
      score<q>(t.operands<Operand>().query + n, keys + int64_t(first) * m.head_dim, m.head_dim, tiles,
               t.tail.data() + n * t.width, t.width);
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
    const int count = int(blocks.size());
#pragma omp for schedule(dynamic)
    for (int task = 0; task < m.kv_heads * chunks * count; task++) {
      const Block& block = blocks[task % count];
      const int number = task / count % chunks, head = task / count / chunks;
      Scratch& t = scratch[thread_number()];
      if constexpr (std::is_same<Operand, float>::value)
        if (!m.half_cache) {
          chunk<float>(block, head, number, t);
          continue;
        }
      chunk<uint16_t>(block, head, number, t);
    }
#pragma omp for schedule(static)
    for (int task = 0; task < rows.count * m.heads; task++) {
      std::vector<float>& held = scratch[thread_number()].merged;
      if (int(held.size()) < m.head_dim) held.resize(m.head_dim);
      merge(task / m.heads, task % m.heads, y + int64_t(task) * m.head_dim, held.data());
    }
  }
};
