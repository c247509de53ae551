// What the step is given: a model's layers, and the rows of one step. plan.py and engine.py have the same fields.
#pragma once

#include "products.h"

struct Layer {
  Linear qkv, output, gate_up, down;
  // Scales of RMS norms, or none: before and after attention, before and after the MLP, of each head's query and key.
  const float *attention_norm, *attention_out_norm, *mlp_norm, *mlp_out_norm, *query_norm, *key_norm;
  const float *cosines, *sines;  // [positions, rotary / 2]
  void* keys;    // [kv_heads, capacity / 16, head_dim, 16], float32 or bfloat16
  void* values;  // [kv_heads, capacity, head_dim]
  float* watched;  // [rows, hidden]: what the layer puts out, or none
  int32_t window;  // positions that a query sees, itself included; 0: all
};

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

// Rows are nodes behind `prefix` positions of text. Row r stands at `positions[r]`, its key goes to `slots[r]`. It sees
// the slots 0 to shared[r] - 1, which hold the positions of the same numbers, and then, for the positions from shared[r]
// to its own, the slots path[path_start[r] ...].
struct Rows {
  float* hidden;  // [count, hidden]: embeddings, overwritten
  const int32_t *positions, *slots, *shared, *path_start, *path;
  float* logits;  // [keep, outputs of the head]: of the last `keep` rows
  int32_t count, keep, prefix, tail, threads;  // tail: nodes of the tail, rows of earlier steps included
};
