// Products of rows with a matrix of weights: y = x Wt + b. Each result is one sum over the features in their order, so
// that it does not depend on the rows that are computed with it, nor on the threads.
//
// Weights are stored in panels of 32 outputs: as float32 feature by feature, or as bfloat16, where a 32-bit word holds
// two features of an output (the first in its low half). Outputs are filled up to whole panels with zeros. Rows are
// float32, or bfloat16 where the processor multiplies pairs of them (DOTS).
#pragma once

#include <type_traits>

#include "simd.h"

constexpr int PANEL = 32;
constexpr int AHEAD = 1536;  // words that are brought into the second cache before they are used: a seventh faster
constexpr int VECTORS = PANEL / W;  // of a panel's outputs

struct Linear {
  const void* weights;
  const float* bias;  // [outputs], or none
  int32_t inputs, outputs;  // outputs: filled up
  int32_t half;             // 1: bfloat16
};

enum Then { STORE, ADD, SILU, GELU_TANH };  // what becomes of the results; the last two: act(first 16) * last 16

// What a panel's weights take up a pair of features.
inline int pair_size(const uint32_t*) { return PANEL; }
inline int pair_size(const float*) { return 2 * PANEL; }

// Adds x[0] times a vector of numbers and x[1] times another: of the words at w, or of the floats there and `next` on.
inline void add_pair(const float* x, const uint32_t* w, int64_t, V& sum) {
  U pair = load_pairs(w);
  sum = fma(all(x[1]), high(pair), fma(all(x[0]), low(pair), sum));
}
inline void add_pair(const float* x, const float* w, int64_t next, V& sum) {
  sum = fma(all(x[1]), load(w + next), fma(all(x[0]), load(w), sum));
}
inline void add_pair(const uint16_t* x, const uint32_t* w, int64_t, V& sum) {
  sum = dot(load_pairs(w), all_pairs(x), sum);
}

// R rows of x [., ldx] by one panel.
template <int R, class Number, class Weight>
inline void multiply(const Number* x, int64_t ldx, const Weight* w, int inputs, V (&sums)[R][VECTORS]) {
  for (auto& row : sums)
    for (V& v : row) v = all(0.0f);
  for (int k = 0; k < inputs; k += 2, w += pair_size(w)) {
    __builtin_prefetch(w + AHEAD, 0, 2);
    __builtin_prefetch(w + AHEAD + 16, 0, 2);
    for (int i = 0; i < VECTORS; i++)
      for (int r = 0; r < R; r++) add_pair(x + r * ldx + k, w + i * W, PANEL, sums[r][i]);
  }
}

inline V gate(V x, int then) {
  return then == SILU ? x * sigmoid(x)
                      : x * sigmoid(all(1.5957691216057308f) * fma(all(0.044715f) * x * x, x, x));
}

// One row's results of a panel go to y. `scale`: of what is added.
template <class Result>
inline void finish(V (&sums)[VECTORS], const float* bias, Result* y, int then, float scale) {
  if (bias)
    for (int i = 0; i < VECTORS; i++) sums[i] = sums[i] + load(bias + i * W);
  if constexpr (std::is_same<Result, float>::value) {
    if (then == STORE)
      for (int i = 0; i < VECTORS; i++) store(y + i * W, sums[i]);
    if (then == ADD)
      for (int i = 0; i < VECTORS; i++) store(y + i * W, fma(sums[i], all(scale), load(y + i * W)));
    if (then == STORE || then == ADD) return;
  }
  for (int i = 0; i < PARTS; i++) store(y + i * W, gate(sums[i], then) * sums[PARTS + i]);
}

// Rows [., ldx] by a matrix to [., ldy].
template <class Number, class Result>
struct Product {
  const Number* x;
  int64_t ldx;
  int rows;
  const Linear& linear;
  Result* y;
  int64_t ldy;
  int then;
  float scale;

  template <int R, class Weight>
  void block(const Weight* w, int panel, int first) const {
    V sums[R][VECTORS];
    multiply<R>(x + first * ldx, ldx, w, linear.inputs, sums);
    const float* bias = linear.bias ? linear.bias + panel * PANEL : nullptr;
    const int width = then == SILU || then == GELU_TANH ? PANEL / 2 : PANEL;
    for (int r = 0; r < R; r++) finish(sums[r], bias, y + (first + r) * ldy + int64_t(panel) * width, then, scale);
  }

  template <class Weight>
  void panel(int number) const {
    const int64_t pairs = int64_t(number) * linear.inputs / 2;
    const Weight* w = static_cast<const Weight*>(linear.weights) + pairs * pair_size((Weight*)0);
    const int blocks = (rows + MOST_ROWS - 1) / MOST_ROWS;
    for (int b = 0, first = 0; b < blocks; b++) {
      const int count = (rows - first) / (blocks - b);  // blocks of nearly equal size
#define CASE(R) case R: block<R>(w, number, first); break;
      switch (count) {
        CASE(1) CASE(2) CASE(3)
#if defined(__AVX512F__)
        CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
      }
#undef CASE
      first += count;
    }
  }

  // All panels, shared among the threads of the region it is called in; they meet at its end.
  void run() const {
#pragma omp for schedule(static)
    for (int number = 0; number < linear.outputs / PANEL; number++) {
      if constexpr (std::is_same<Number, float>::value)
        if (!linear.half) {
          panel<float>(number);
          continue;
        }
      panel<uint32_t>(number);
    }
  }
};

template <class Number, class Result>
inline void product(const Number* x, int64_t ldx, int rows, const Linear& linear, Result* y, int64_t ldy,
                    int then = STORE, float scale = 1.0f) {
  Product<Number, Result>{x, ldx, rows, linear, y, ldy, then, scale}.run();
}
