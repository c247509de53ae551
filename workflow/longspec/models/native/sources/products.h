// Products of rows with a matrix of weights: y = x Wt + b. Each result is one sum over the features in their order, so
// that it does not depend on the rows that are computed with it, nor on the threads.
//
// Weights are stored in panels of 32 outputs, feature by feature: as float32, or as bfloat16 in pairs of outputs n and
// n + 16 of a panel in one 32-bit word (the first in its low half). Outputs are filled up to whole panels with zeros.
#pragma once

#include "simd.h"

constexpr int PANEL = 32;
constexpr int AHEAD = 64;      // features whose weights are asked for before they are used: a fifth faster at 8 rows
constexpr int VECTORS = PANEL / W;  // of a panel's outputs

struct Linear {
  const void* weights;
  const float* bias;  // [outputs], or none
  int32_t inputs, outputs;  // outputs: filled up
  int32_t half;  // 1: bfloat16
};

enum Then { STORE, ADD, SILU, GELU_TANH };  // what becomes of the results; the last two: act(first 16) * last 16

inline void widen_panel(const uint32_t* w, V (&out)[VECTORS]) {
  for (int i = 0; i < PARTS; i++) {
    U pairs = load_pairs(w + i * W);
    out[i] = low(pairs);
    out[PARTS + i] = high(pairs);
  }
}
inline void widen_panel(const float* w, V (&out)[VECTORS]) {
  for (int i = 0; i < VECTORS; i++) out[i] = load(w + i * W);
}
inline int words(const uint32_t*) { return PANEL / 2; }
inline int words(const float*) { return PANEL; }

// R rows of x [., ldx] by one panel.
template <int R, class Weight>
inline void multiply(const float* x, int64_t ldx, const Weight* w, int inputs, V (&sums)[R][VECTORS]) {
  for (auto& row : sums)
    for (V& v : row) v = all(0.0f);
  const int step = words(w);
  for (int k = 0; k < inputs; k++) {
    V weights[VECTORS];
    __builtin_prefetch(w + int64_t(k + AHEAD) * step);
    widen_panel(w + int64_t(k) * step, weights);
    for (int r = 0; r < R; r++) {
      V feature = all(x[r * ldx + k]);
      for (int i = 0; i < VECTORS; i++) sums[r][i] = fma(feature, weights[i], sums[r][i]);
    }
  }
}

inline V gate(V x, int then) {
  return then == SILU ? x * sigmoid(x)
                      : x * sigmoid(all(1.5957691216057308f) * fma(all(0.044715f) * x * x, x, x));
}

// One row's results of a panel go to y. `scale`: of what is added.
inline void finish(V (&sums)[VECTORS], const float* bias, float* y, int then, float scale) {
  if (bias)
    for (int i = 0; i < VECTORS; i++) sums[i] = sums[i] + load(bias + i * W);
  if (then == STORE)
    for (int i = 0; i < VECTORS; i++) store(y + i * W, sums[i]);
  else if (then == ADD)
    for (int i = 0; i < VECTORS; i++) store(y + i * W, fma(sums[i], all(scale), load(y + i * W)));
  else
    for (int i = 0; i < PARTS; i++) store(y + i * W, gate(sums[i], then) * sums[PARTS + i]);
}

template <int R, class Weight>
inline void rows_by_panel(const float* x, int64_t ldx, const Weight* w, const Linear& linear, int panel, float* y,
                          int64_t ldy, int then, float scale) {
  V sums[R][VECTORS];
  multiply<R>(x, ldx, w, linear.inputs, sums);
  const float* bias = linear.bias ? linear.bias + panel * PANEL : nullptr;
  const int width = then == SILU || then == GELU_TANH ? PANEL / 2 : PANEL;
  for (int r = 0; r < R; r++) finish(sums[r], bias, y + r * ldy + int64_t(panel) * width, then, scale);
}

template <class Weight>
inline void by_panel(const float* x, int64_t ldx, int rows, const Linear& linear, int panel, float* y, int64_t ldy,
                     int then, float scale) {
  const Weight* w = static_cast<const Weight*>(linear.weights) + int64_t(panel) * linear.inputs * words((Weight*)0);
  const int blocks = (rows + MOST_ROWS - 1) / MOST_ROWS;
  for (int b = 0, start = 0; b < blocks; b++) {
    const int count = (rows - start) / (blocks - b);  // blocks of nearly equal size
#define CASE(R)                                                                                              \
  case R:                                                                                                    \
    rows_by_panel<R>(x + start * ldx, ldx, w, linear, panel, y + start * ldy, ldy, then, scale);             \
    break;
    switch (count) {
      CASE(1) CASE(2) CASE(3)
#if defined(__AVX512F__)
      CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
#undef CASE
    start += count;
  }
}

// All rows by all panels, shared among the threads of the region it is called in; they meet at its end.
inline void product(const float* x, int64_t ldx, int rows, const Linear& linear, float* y, int64_t ldy, int then = STORE,
                    float scale = 1.0f) {
  const int panels = linear.outputs / PANEL;
#pragma omp for schedule(static)
  for (int panel = 0; panel < panels; panel++) {
    if (linear.half)
      by_panel<uint32_t>(x, ldx, rows, linear, panel, y, ldy, then, scale);
    else
      by_panel<float>(x, ldx, rows, linear, panel, y, ldy, then, scale);
  }
}
