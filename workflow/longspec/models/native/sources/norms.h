// What is done to each row by itself: norms, rotary positions, and where its key and value go.
#pragma once

#include "model.h"

// y = x / rms(x) * scale; y may be x. The length is a multiple of LANES.
template <class Result>
inline void rms_norm(const float* x, const float* scale, Result* y, int length, float epsilon) {
  V squares = all(0.0f);
  for (int i = 0; i < length; i += W) squares = fma(load(x + i), load(x + i), squares);
  V factor = all(1.0f / std::sqrt(sum(squares) / float(length) + epsilon));
  for (int i = 0; i < length; i += W) store(y + i, load(x + i) * factor * load(scale + i));
}

// y = norm(x), or x itself where there is no norm.
template <class Result>
inline void norm_rows(const float* x, const float* scale, Result* y, int rows, int length, float epsilon) {
#pragma omp for schedule(static)
  for (int r = 0; r < rows; r++) {
    const float* from = x + int64_t(r) * length;
    Result* to = y + int64_t(r) * length;
    if (scale)
      rms_norm(from, scale, to, length, epsilon);
    else
      for (int i = 0; i < length; i += W) store(to + i, load(from + i));
  }
}

// hidden += residual_scale * norm(x): where a norm stands behind a block.
inline void add_normed(const Model& m, float* x, const float* scale, float* hidden, int rows) {
#pragma omp for schedule(static)
  for (int r = 0; r < rows; r++) {
    float *mine = x + int64_t(r) * m.hidden, *into = hidden + int64_t(r) * m.hidden;
    rms_norm(mine, scale, mine, m.hidden, m.epsilon);
    for (int i = 0; i < m.hidden; i += W) store(into + i, fma(load(mine + i), all(m.residual_scale), load(into + i)));
  }
}

// The first `rotary` features of a head, in place.
inline void rotate(float* x, const float* cosines, const float* sines, int rotary, bool interleaved) {
  const int half = rotary / 2;
  for (int i = 0; i < half; i++) {
    float &a = interleaved ? x[2 * i] : x[i], &b = interleaved ? x[2 * i + 1] : x[i + half];
    const float first = std::fma(a, cosines[i], -(b * sines[i])), second = std::fma(b, cosines[i], a * sines[i]);
    a = first;
    b = second;
  }
}

template <class Number>
inline void keep(const Model& m, const Layer& layer, int head, int slot, const float* key, const float* value) {
  const int64_t first = int64_t(head) * m.capacity * m.head_dim;
  Number *keys = static_cast<Number*>(layer.keys) + first, *values = static_cast<Number*>(layer.values) + first;
  for (int d = 0; d < m.head_dim; d++) {
    narrow(key[d], keys + key_at(keys, slot, d, m.head_dim));
    narrow(value[d], values + value_at(values, slot, d, m.head_dim));
  }
}

// Queries [heads], keys and values [kv_heads] of each row of qkv [rows, ld]: normed, rotated, scaled, stored. Or of
// queries alone.
inline void place(const Model& m, const Layer& layer, const Rows& rows, float* qkv, int64_t ld, bool with_keys = true) {
  const int queries = m.heads * m.head_dim, keys = m.kv_heads * m.head_dim;
  if (layer.query_norm && m.norm_whole) {
#pragma omp for schedule(static)
    for (int r = 0; r < rows.count; r++) {
      float* x = qkv + r * ld;
      rms_norm(x, layer.query_norm, x, queries, m.epsilon);
      rms_norm(x + queries, layer.key_norm, x + queries, keys, m.epsilon);
    }
  }
  const int heads = m.heads + (with_keys ? m.kv_heads : 0);
#pragma omp for schedule(static)
  for (int task = 0; task < rows.count * heads; task++) {
    const int r = task / heads, h = task % heads;
    float* x = qkv + r * ld + int64_t(h) * m.head_dim;
    const float* scale = h < m.heads ? layer.query_norm : layer.key_norm;
    if (scale && !m.norm_whole) rms_norm(x, scale, x, m.head_dim, m.epsilon);
    const int64_t position = int64_t(rows.positions[r]) * (m.rotary / 2);
    if (layer.cosines) rotate(x, layer.cosines + position, layer.sines + position, m.rotary, m.interleaved);
    if (h < m.heads) {
      for (int d = 0; d < m.head_dim; d++) x[d] *= m.attention_scale;
      continue;
    }
    const float* value = x + keys;
    const int head = rows.text_of(r).cache * m.kv_heads + h - m.heads;
    if (m.half_cache)
      keep<uint16_t>(m, layer, head, rows.slots[r], x, value);
    else
      keep<float>(m, layer, head, rows.slots[r], x, value);
  }
}
