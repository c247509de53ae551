// What the step is given: a model's layers, and the rows of one step. structs.py has the same fields.
#pragma once

#include "products.h"

struct Layer {
  Linear qkv, output, gate_up, down;
  // Scales of RMS norms, or none: before and after attention, before and after the MLP, of each head's query and key.
  const float *attention_norm, *attention_out_norm, *mlp_norm, *mlp_out_norm, *query_norm, *key_norm;
  const float *cosines, *sines;  // [positions, rotary / 2]
  void *keys, *values;  // [caches, kv_heads, capacity, head_dim], see key_at and value_at; float32 or bfloat16
  float* watched;  // [rows, hidden]: what the layer puts out, or none
  int32_t window;  // positions that a query sees, itself included; 0: all
};

// Where a number of a head's keys or values lies: keys in blocks of 16 positions, a feature's 16 beside each other;
// values position by position. In bfloat16 a word holds two features of a key, and two positions of a value.
inline int64_t key_at(const float*, int slot, int d, int head_dim) {
  return (int64_t(slot / LANES) * head_dim + d) * LANES + slot % LANES;
}
inline int64_t key_at(const uint16_t*, int slot, int d, int head_dim) {
  return (int64_t(slot / LANES) * head_dim + d / 2 * 2) * LANES + slot % LANES * 2 + d % 2;
}
inline int64_t value_at(const float*, int slot, int d, int head_dim) { return int64_t(slot) * head_dim + d; }
inline int64_t value_at(const uint16_t*, int slot, int d, int head_dim) {
  return int64_t(slot / 2) * 2 * head_dim + 2 * d + slot % 2;
}

struct Model {
  const Layer* layers;
  const float* final_norm;
  Linear head;
  int32_t layer_count, hidden, inner, heads, kv_heads, head_dim, rotary, capacity;
  int32_t half_cache;        // 1: keys and values are bfloat16
  int32_t half_rows;         // 1: what is multiplied with weights is rounded to bfloat16; with DOTS alone
  int32_t interleaved;       // 1: rotary pairs are neighbours, 0: halves
  int32_t activation;        // SILU or GELU_TANH
  int32_t norm_whole;        // 1: query_norm and key_norm are over all heads
  float epsilon, attention_scale, attention_softcap, residual_scale, logit_scale, logit_softcap;
};

// Rows [begin, end) of a step belong to one text: nodes behind `prefix` positions of it.
struct Text {
  int32_t begin, end, prefix;
  int32_t tail;   // nodes of its tail, rows of earlier steps included
  int32_t cache;  // which of a layer's caches holds its keys and values
};

// Row r stands at `positions[r]` of its text, its key goes to `slots[r]`. It sees the slots 0 to shared[r] - 1, which hold
// the positions of the same numbers, and then, for the positions from shared[r] to its own, path[path_start[r] ...].
struct Rows {
  float* hidden;  // [count, hidden]: embeddings, overwritten
  const int32_t *positions, *slots, *shared, *path_start, *path;
  float* logits;      // [keep, outputs of the head]: of the last `keep` rows
  const Text* texts;  // [text_count], in the order of the rows
  int32_t text_count, count, keep, threads;

  const Text& text_of(int row) const {
    const Text* text = texts;
    while (row >= text->end) text++;
    return *text;
  }
};
