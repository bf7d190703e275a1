// A whole decoder in one parallel region: the threads meet at barriers between its phases, so that
// a step costs neither Python nor a fork and join for each operation.
#include <algorithm>
#include <vector>

#include "attention.h"
#include "elementwise.h"
#include "exports.h"
#include "linear.h"

namespace octavo {

// Passed from Python; keep decoder.py in step. Norm weights are float32; those of what a family
// lacks are null.
struct LayerPlan {
  Weight qkv, output, gate_up, down;  // gate_up: panels of the two in turn
  const float *input_norm, *attention_norm, *mlp_input_norm, *mlp_norm, *query_norm, *key_norm;
  int32_t window, rope;
};

struct DecoderPlan {
  int32_t layers, hidden, heads, kv_heads, head_dim, intermediate, activation;
  float eps, scale, softcap;
  const float* final_norm;
  const LayerPlan* layer;
};

struct DecoderStep {
  Batch batch;
  const void* input;  // [num_tokens, hidden], bf16 if `narrow`
  void* output;
  const float* const* cosine;  // of each kind of rope, [num_tokens, rotary width]
  const float* const* sine;
  const int32_t* rotary_width;
  void* const* keys;  // of each layer
  void* const* values;
  int32_t narrow, threads;
};

class Decoder {
 public:
  explicit Decoder(const DecoderPlan& plan) : plan_(plan), layers_(plan.layer, plan.layer + plan.layers) {}

  void run(const DecoderStep& step) {
    prepare(step);
    run_team(step.threads, [&](Team& team, int thread) { forward(team, thread, step); });
  }

 private:
  struct Scratch {
    Buffer<float> tiles;
    Attention<float> attention;
    Attention<uint16_t> narrow_attention;
  };

  void prepare(const DecoderStep& step) {
    int m = step.batch.num_tokens;
    stride_ = round_up(plan_.hidden, kLanes);
    qkv_stride_ = round_up((plan_.heads + 2 * plan_.kv_heads) * plan_.head_dim, kLanes) + kLanes;
    hidden_.reserve(m * stride_);
    branch_.reserve(m * stride_);
    qkv_.reserve(m * qkv_stride_);
    const LayerPlan& layer = layers_[0];
    normed_.reserve(m, plan_.hidden, row_kind(layer.qkv));
    attended_.reserve(m, plan_.heads * plan_.head_dim, row_kind(layer.output));
    gated_.reserve(m, plan_.intermediate, row_kind(layer.down));
    attention_.build(step.batch, shape(layer), step.threads);
    parts_.reserve(size_t(attention_.parts) * shape(layer).group() * (plan_.head_dim + 2));
    if (int(scratch_.size()) < step.threads) scratch_ = std::vector<Scratch>(step.threads);
  }

  AttentionShape shape(const LayerPlan& layer) const {
    return {plan_.heads, plan_.kv_heads, plan_.head_dim, plan_.scale, plan_.softcap, layer.window};
  }

  void forward(Team& team, int thread, const DecoderStep& step) {
    int m = step.batch.num_tokens;
    each_row(team, thread, m, [&](int row) { read_row(step, row); });
    for (int i = 0; i < plan_.layers; ++i) {
      const LayerPlan& layer = layers_[i];
      attend(team, thread, step, i);
      add_branch(team, thread, m, attended_, layer.output, layer.attention_norm);
      feed_forward(team, thread, m, layer);
      add_branch(team, thread, m, gated_, layer.down, layer.mlp_norm);
    }
    each_row(team, thread, m, [&](int row) { write_row(step, row); });
  }

  // Rows are shared out in the same way in every phase, so each stays in one core's cache.
  template <class Work>
  void each_row(Team& team, int thread, int m, const Work& work) {
    int first = int(int64_t(m) * thread / team.size()), last = int(int64_t(m) * (thread + 1) / team.size());
    for (int row = first; row < last; ++row) work(row);
    team.barrier();
  }

  float* hidden(int row) const { return hidden_.data() + row * stride_; }

  void read_row(const DecoderStep& step, int row) {
    size_t at = size_t(row) * plan_.hidden;
    float* to = hidden(row);
    if (step.narrow) {
      const uint16_t* from = static_cast<const uint16_t*>(step.input) + at;
      for (int i = 0; i < plan_.hidden; ++i) to[i] = to_float(from[i]);
    } else {
      std::memcpy(to, static_cast<const float*>(step.input) + at, sizeof(float) * plan_.hidden);
    }
  }

  void write_row(const DecoderStep& step, int row) {
    size_t at = size_t(row) * plan_.hidden;
    float* normed = normed_.row(row);
    rms_norm(hidden(row), plan_.final_norm, plan_.hidden, plan_.eps, normed);
    if (step.narrow) {
      uint16_t* to = static_cast<uint16_t*>(step.output) + at;
      for (int i = 0; i < plan_.hidden; ++i) to[i] = to_bf16(normed[i]);
    } else {
      std::memcpy(static_cast<float*>(step.output) + at, normed, sizeof(float) * plan_.hidden);
    }
  }

  void normalise(Team& team, int thread, int m, const float* weight) {
    each_row(team, thread, m, [&](int row) {
      rms_norm(hidden(row), weight, plan_.hidden, plan_.eps, normed_.row(row));
      normed_.convert(row);
    });
  }

  void attend(Team& team, int thread, const DecoderStep& step, int index) {
    const LayerPlan& layer = layers_[index];
    int m = step.batch.num_tokens;
    Scratch& scratch = scratch_[thread];
    normalise(team, thread, m, layer.input_norm);
    run_linear(team, normed_.rows(), m, layer.qkv, scratch.tiles,
               store_into(layer.qkv, qkv_.data(), qkv_stride_));
    team.barrier();
    if (step.batch.narrow_cache) attend_cache<uint16_t>(team, thread, step, index, scratch.narrow_attention);
    else attend_cache<float>(team, thread, step, index, scratch.attention);
  }

  template <class Element>
  void attend_cache(Team& team, int thread, const DecoderStep& step, int index, Attention<Element>& attention) {
    const LayerPlan& layer = layers_[index];
    int m = step.batch.num_tokens;
    Element* keys = static_cast<Element*>(step.keys[index]);
    Element* values = static_cast<Element*>(step.values[index]);
    each_row(team, thread, m, [&](int row) { place_row(layer, step, row, keys, values); });
    AttentionShape shape = this->shape(layer);
    for (int64_t i = team.next(); i < int64_t(attention_.tasks.size()); i = team.next())
      attention.run(step.batch, shape, attention_.tasks[i], qkv_.data(), qkv_stride_, keys, values,
                    attended_.row(0), attended_.stride(), parts_.data());
    team.barrier();
    if (!attention_.merges.empty()) {
      for (int64_t i = team.next(); i < int64_t(attention_.merges.size()); i = team.next())
        merge_parts(attention_.merges[i], shape, parts_.data(), attended_.row(0), attended_.stride());
      team.barrier();
    }
    if (attended_.converts()) each_row(team, thread, m, [&](int row) { attended_.convert(row); });
  }

  // Normalise and rotate a token's queries and keys; store its keys and values in the cache.
  template <class Element>
  void place_row(const LayerPlan& layer, const DecoderStep& step, int row, Element* keys, Element* values) {
    int dim = plan_.head_dim, width = step.rotary_width[layer.rope];
    const float* cosine = step.cosine[layer.rope] + size_t(row) * width;
    const float* sine = step.sine[layer.rope] + size_t(row) * width;
    float* heads = qkv_.data() + row * qkv_stride_;
    for (int h = 0; h < plan_.heads + plan_.kv_heads; ++h) {
      float* head = heads + size_t(h) * dim;
      const float* norm = h < plan_.heads ? layer.query_norm : layer.key_norm;
      if (norm) rms_norm(head, norm, dim, plan_.eps, head);
      rotate(head, cosine, sine, width);
    }
    size_t cached = size_t(plan_.kv_heads) * dim, at = step.batch.slot_mapping[row] * cached;
    const float* key = heads + size_t(plan_.heads) * dim;
    for (size_t i = 0; i < cached; ++i) put(keys + at + i, key[i]);
    for (size_t i = 0; i < cached; ++i) put(values + at + i, key[cached + i]);
  }

  // hidden += weight · input, normalised first where the family does so.
  void add_branch(Team& team, int thread, int m, const RowBuffer& input, const Weight& w, const float* norm) {
    Buffer<float>& tiles = scratch_[thread].tiles;
    if (norm == nullptr) {
      run_linear(team, input.rows(), m, w, tiles, add_into(w, hidden_.data(), stride_));
      team.barrier();
      return;
    }
    run_linear(team, input.rows(), m, w, tiles, store_into(w, branch_.data(), stride_));
    team.barrier();
    each_row(team, thread, m, [&](int row) {
      float* branch = branch_.data() + row * stride_;
      rms_norm(branch, norm, plan_.hidden, plan_.eps, branch);
      for (int i = 0; i < plan_.hidden; ++i) hidden(row)[i] += branch[i];
    });
  }

  void feed_forward(Team& team, int thread, int m, const LayerPlan& layer) {
    normalise(team, thread, m, layer.mlp_input_norm);
    const Weight& w = layer.gate_up;
    run_linear(team, normed_.rows(), m, w, scratch_[thread].tiles,
               [&](int row, int rows, int panel, int panels, const float* tiles) {
                 for (int p = 0; p < panels; p += 2) {
                   const float *gate = tiles + size_t(p) * rows * kLanes, *up = gate + size_t(rows) * kLanes;
                   Vec gate_bias = bias_of(w, panel + p), up_bias = bias_of(w, panel + p + 1);
                   for (int r = 0; r < rows; ++r) {
                     Vec g = activate(load(gate + r * kLanes) + gate_bias, plan_.activation);
                     store(gated_.row(row + r) + (panel + p) / 2 * kLanes,
                           g * (load(up + r * kLanes) + up_bias));
                   }
                 }
               });
    team.barrier();
    if (gated_.converts()) each_row(team, thread, m, [&](int row) { gated_.convert(row); });
  }

  DecoderPlan plan_;
  std::vector<LayerPlan> layers_;
  std::vector<Scratch> scratch_;
  AttentionPlan attention_;
  size_t stride_ = 0, qkv_stride_ = 0;
  Buffer<float> hidden_, branch_, qkv_, parts_;
  RowBuffer normed_, attended_, gated_;
};

}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT void* octavo_decoder_create(const DecoderPlan* plan) { return new Decoder(*plan); }
OCTAVO_EXPORT void octavo_decoder_free(void* decoder) { delete static_cast<Decoder*>(decoder); }
OCTAVO_EXPORT void octavo_decoder_run(void* decoder, const DecoderStep* step) {
  static_cast<Decoder*>(decoder)->run(*step);
}
