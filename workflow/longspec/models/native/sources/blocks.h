// The memory of a step, and the blocks that a decoder's layers and a drafter's are made of.
#pragma once

#include "attention.h"

// Memory of one step, kept for the next. A job has one step at a time.
struct Workspace {
  std::vector<float> qkv, out, sums;
  std::vector<float> normed, mixed, inner;  // float32, or bfloat16 in half of it
  std::vector<Part> parts;
  std::vector<Scratch> scratch;
  std::vector<Block> blocks;
  std::vector<int32_t> last_seen, seen;  // [rows]: of rows that all see the same text, its last position and its length

  void fit(const Model& m, const Rows& rows, int64_t qkv_width, int64_t widest, int chunks) {
    const int64_t n = rows.count, heads = int64_t(m.heads) * m.head_dim;
    grow(normed, n * m.hidden);
    grow(qkv, n * qkv_width);
    grow(mixed, n * heads);
    grow(inner, n * m.inner);
    grow(out, n * widest);
    grow(parts, n * m.heads * chunks);
    grow(sums, n * heads * chunks);
    if (int(scratch.size()) < rows.threads) scratch.resize(rows.threads);
  }

  template <class T>
  static void grow(std::vector<T>& v, int64_t size) {
    if (int64_t(v.size()) < size) v.resize(size);
  }
};

// A block's result onto the residual stream: at once, or through a norm behind the block.
template <class Number>
void onto(const Model& m, const Linear& linear, const Number* x, int64_t ldx, const float* norm, const Rows& rows,
          Workspace& w) {
  if (norm) {
    product(x, ldx, rows.count, linear, w.out.data(), m.hidden);
    add_normed(m, w.out.data(), norm, rows.hidden, rows.count);
  } else {
    product(x, ldx, rows.count, linear, rows.hidden, m.hidden, ADD, m.residual_scale);
  }
}

template <class Number>
void run_mlp(const Model& m, const Layer& layer, const Rows& rows, Workspace& w) {
  Number *normed = (Number*)w.normed.data(), *inner = (Number*)w.inner.data();
  norm_rows(rows.hidden, layer.mlp_norm, normed, rows.count, m.hidden, m.epsilon);
  product(normed, m.hidden, rows.count, layer.gate_up, inner, m.inner, m.activation);
  onto(m, layer.down, inner, m.inner, layer.mlp_out_norm, rows, w);
}

template <class Number>
void run_head(const Model& m, const Rows& rows, Workspace& w) {
  const float* last = rows.hidden + int64_t(rows.count - rows.keep) * m.hidden;
  Number* normed = (Number*)w.normed.data();
  norm_rows(last, m.final_norm, normed, rows.keep, m.hidden, m.epsilon);
  product(normed, m.hidden, rows.keep, m.head, rows.logits, m.head.outputs);
  if (m.logit_scale == 1.0f && m.logit_softcap <= 0) return;
  const int64_t count = int64_t(rows.keep) * m.head.outputs;
#pragma omp for schedule(static)
  for (int64_t i = 0; i < count / W; i++) {
    V x = load(rows.logits + i * W) * all(m.logit_scale);
    if (m.logit_softcap > 0) x = all(m.logit_softcap) * tanh(x * all(1 / m.logit_softcap));
    store(rows.logits + i * W, x);
  }
}
