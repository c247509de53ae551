// One step of a decoder: rows of embeddings in, logits out, keys and values into the cache. All of it runs in one region
// of threads, which meet after each product. Compiled and called by build.py and engine.py.
#include "cross_layer.h"

namespace {

// Number: of what is multiplied with weights.
template <class Number>
void run_layer(const Model& m, const Layer& layer, const Rows& rows, int chunks, Workspace& w) {
  const int64_t ld = layer.qkv.outputs;
  Number *normed = (Number*)w.normed.data(), *mixed = (Number*)w.mixed.data();
  norm_rows(rows.hidden, layer.attention_norm, normed, rows.count, m.hidden, m.epsilon);
  product(normed, m.hidden, rows.count, layer.qkv, w.qkv.data(), ld);
  place(m, layer, rows, w.qkv.data(), ld);
  const Attention<Number> attention{m, layer, rows, w.qkv.data(), ld, w.parts.data(), w.sums.data(), chunks,
                                    w.blocks};
  attention.run(mixed, w.scratch.data());
  onto(m, layer.output, mixed, int64_t(m.heads) * m.head_dim, layer.attention_out_norm, rows, w);
  run_mlp<Number>(m, layer, rows, w);
  if (layer.watched) {
#pragma omp for schedule(static)
    for (int r = 0; r < rows.count; r++)
      std::copy(rows.hidden + int64_t(r) * m.hidden, rows.hidden + int64_t(r + 1) * m.hidden,
                layer.watched + int64_t(r) * m.hidden);
  }
}

template <class Number>
void run(const Model& m, const Rows& rows, int chunks, Workspace& w) {
#pragma omp parallel num_threads(rows.threads)
  {
    for (int l = 0; l < m.layer_count; l++) run_layer<Number>(m, m.layers[l], rows, chunks, w);
    if (rows.keep) run_head<Number>(m, rows, w);
  }
}

template <class Number>
void move(const Model& m, int cache, int prefix, const int32_t* slots, int count) {
  for (int l = 0; l < m.layer_count; l++)
    for (int h = 0; h < m.kv_heads; h++) {
      const int64_t head = (int64_t(cache) * m.kv_heads + h) * m.capacity * m.head_dim;
      Number *keys = static_cast<Number*>(m.layers[l].keys) + head, *values = static_cast<Number*>(m.layers[l].values) + head;
      for (int i = 0; i < count; i++) {  // a path's slots ascend, so nothing is overwritten that is still to move
        const int to = prefix + i, from = slots[i];
        for (int d = 0; d < m.head_dim && to != from; d++) {
          keys[key_at(keys, to, d, m.head_dim)] = keys[key_at(keys, from, d, m.head_dim)];
          values[value_at(values, to, d, m.head_dim)] = values[value_at(values, from, d, m.head_dim)];
        }
      }
    }
}

}  // namespace

extern "C" {

void* longspec_workspace() { return new Workspace; }
void longspec_free(void* workspace) { delete static_cast<Workspace*>(workspace); }

// Run the rows of a step.
void longspec_step(const Model* model, const Rows* step, void* workspace) {
  const Model& m = *model;
  const Rows& rows = *step;
  Workspace& w = *static_cast<Workspace*>(workspace);
  int last = 0;
  for (int r = 0; r < rows.count; r++) last = std::max(last, rows.positions[r]);
  const int chunks = last / CHUNK + 1;
  int64_t widest = m.hidden, qkv_width = 0;
  for (int l = 0; l < m.layer_count; l++) {
    widest = std::max<int64_t>(widest, std::max(m.layers[l].output.outputs, m.layers[l].down.outputs));
    qkv_width = std::max<int64_t>(qkv_width, m.layers[l].qkv.outputs);
  }
  w.fit(m, rows, qkv_width, widest, chunks);
  divide(m, rows, w.blocks);
  if (DOTS && m.half_rows)
    run<uint16_t>(m, rows, chunks, w);
  else
    run<float>(m, rows, chunks, w);
}

// Run the rows of a drafter's layer.
void longspec_cross_step(const Model* model, const CrossLayer* layer, const CrossRows* step, void* workspace) {
  cross_step(*model, *layer, *step, *static_cast<Workspace*>(workspace));
}

// Whether this processor multiplies pairs of bfloat16 numbers.
int32_t longspec_dots() { return DOTS; }

// Move the keys and values of a cache's slots to its positions from `prefix` on.
void longspec_commit(const Model* model, int32_t cache, int32_t prefix, const int32_t* slots, int32_t count) {
  if (model->half_cache)
    move<uint16_t>(*model, cache, prefix, slots, count);
  else
    move<float>(*model, cache, prefix, slots, count);
}

// y [rows, outputs] = x [rows, inputs] by a matrix, for drafters' layers and for measurements.
void longspec_product(const Linear* linear, const float* x, int32_t rows, float* y, int32_t threads) {
#pragma omp parallel num_threads(threads)
  product(x, linear->inputs, rows, *linear, y, linear->outputs);
}

// The sizes that the caller's own declarations must have.
void longspec_sizes(int64_t* sizes) {
  sizes[0] = sizeof(Linear), sizes[1] = sizeof(Layer), sizes[2] = sizeof(Model), sizes[3] = sizeof(Rows);
  sizes[4] = sizeof(CrossLayer), sizes[5] = sizeof(CrossRows), sizes[6] = sizeof(Text);
}
}
