// One step of a drafter's layer that attends to a window of its own text and to the keys and values of another model's
// last layer: GLIDE and its hybrid. drafters/glide/model.py has the arithmetic, cross_layer.py the same fields.
#pragma once

#include "blocks.h"

struct CrossLayer {
  Layer own;  // attention over the window, whose `qkv` gives keys and values alone, and the MLP
  Linear query, cross_query, cross_output;
  Linear fusion;                // of the features of one row, side by side
  const float* cross_norm;
  const float* feature_norms;   // [features, hidden]
  const float* lags;            // [lag_count, hidden]: added by the distance to the features' row
  int32_t features, lag_count;  // 0: it reads none
};

// Rows of a step; the last `keep` are asked for logits. Their positions are slots of the window.
struct CrossRows {
  Rows rows;
  const void *keys, *values;       // of the other model's last layer
  int32_t seen, capacity;          // positions that all rows see there, and that there is room for
  const float* features;           // [features, hidden], where `fused` is to be made of them
  float* fused;                    // [hidden]
  int32_t last;                    // the slot of the text's last token
};

// What all rows get of the features, and each by its distance to their row.
template <class Number>
void add_fused(const Model& m, const CrossLayer& layer, const CrossRows& step, const Rows& rows, Workspace& w) {
  if (step.features) {
    Number* normed = (Number*)w.normed.data();
#pragma omp for schedule(static)
    for (int f = 0; f < layer.features; f++) {
      const int64_t at = int64_t(f) * m.hidden;
      rms_norm(step.features + at, layer.feature_norms + at, normed + at, m.hidden, m.epsilon);
    }
    product(normed, int64_t(layer.features) * m.hidden, 1, layer.fusion, step.fused, m.hidden);
  }
#pragma omp for schedule(static)
  for (int r = 0; r < rows.count; r++) {
    const float* lag = layer.lags + int64_t(std::min(rows.positions[r] - step.last, layer.lag_count - 1)) * m.hidden;
    float* hidden = rows.hidden + int64_t(r) * m.hidden;
    for (int i = 0; i < m.hidden; i += W) store(hidden + i, load(hidden + i) + (load(step.fused + i) + load(lag + i)));
  }
}

template <class Number>
void run_cross(const Model& m, const CrossLayer& layer, const CrossRows& step, int chunks, Workspace& w) {
  const Layer& own = layer.own;
  const Rows& all_rows = step.rows;
  const int skipped = all_rows.count - all_rows.keep;
  const int64_t queries = int64_t(m.heads) * m.head_dim, ld = queries + own.qkv.outputs;
  Number *normed = (Number*)w.normed.data(), *mixed = (Number*)w.mixed.data();
  float* qkv = w.qkv.data() + skipped * ld;  // of the rows that are asked
  Rows rows = all_rows;
  rows.hidden += int64_t(skipped) * m.hidden;
  rows.positions += skipped, rows.slots += skipped, rows.shared += skipped, rows.path_start += skipped;
  rows.count = rows.keep;

  norm_rows(all_rows.hidden, own.attention_norm, normed, all_rows.count, m.hidden, m.epsilon);
  product(normed, m.hidden, all_rows.count, own.qkv, w.qkv.data() + queries, ld);
  if (layer.features) add_fused<Number>(m, layer, step, rows, w);
  norm_rows(rows.hidden, own.attention_norm, normed, rows.count, m.hidden, m.epsilon);
  product(normed, m.hidden, rows.count, layer.query, qkv, ld);
  place(m, own, all_rows, w.qkv.data(), ld);
  if (!rows.count) return;
  Attention<Number>{m, own, rows, qkv, ld, w.parts.data(), w.sums.data(), chunks, w.blocks}.run(
      mixed, w.scratch.data());
  onto(m, own.output, mixed, queries, nullptr, rows, w);

  norm_rows(rows.hidden, layer.cross_norm, normed, rows.count, m.hidden, m.epsilon);
  product(normed, m.hidden, rows.count, layer.cross_query, w.qkv.data(), queries);
  place(m, own, rows, w.qkv.data(), queries, false);
  Model other = m;
  other.capacity = step.capacity;
  Layer last{};
  last.keys = const_cast<void*>(step.keys), last.values = const_cast<void*>(step.values);
  Rows seeing = rows;
  seeing.positions = w.last_seen.data(), seeing.shared = w.seen.data();
  Attention<Number>{other, last, seeing, w.qkv.data(), queries, w.parts.data(), w.sums.data(), chunks, w.blocks}.run(
      mixed, w.scratch.data());
  onto(m, layer.cross_output, mixed, queries, nullptr, rows, w);
  run_mlp<Number>(m, own, rows, w);
  run_head<Number>(m, rows, w);
}

inline void cross_step(const Model& m, const CrossLayer& layer, const CrossRows& step, Workspace& w) {
  const Rows& rows = step.rows;
  int last = step.seen - 1;
  for (int r = 0; r < rows.count; r++) last = std::max(last, rows.positions[r]);
  const int chunks = last / CHUNK + 1;
  w.fit(m, rows, int64_t(m.heads) * m.head_dim + layer.own.qkv.outputs, m.hidden, chunks);
  Workspace::grow(w.normed, int64_t(layer.features) * m.hidden);
  Text text = *rows.texts;  // of the rows that are asked
  text.end = rows.keep;
  Rows asked = rows;
  asked.texts = &text;
  divide(m, asked, w.blocks);
  w.last_seen.assign(rows.keep, step.seen - 1);
  w.seen.assign(rows.keep, step.seen);
#pragma omp parallel num_threads(rows.threads)
  if (DOTS && m.half_rows)
    run_cross<uint16_t>(m, layer, step, chunks, w);
  else
    run_cross<float>(m, layer, step, chunks, w);
}
