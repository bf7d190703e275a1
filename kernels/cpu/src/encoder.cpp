// Vision transformer layers in one parallel region, as in decoder.cpp.
#include <algorithm>
#include <vector>

#include "elementwise.h"
#include "exports.h"
#include "layer_stack.h"

namespace octavo {

// Passed from Python; keep library.py in step. Vectors are float32 and padded to whole panels; null for
// norms, biases and scales that a family lacks.
struct EncoderLayerPlan {
  Weight qkv, output, up, down;  // up, if `gated`: panels of gate and up in turn
  const float *attention_norm, *attention_norm_bias, *attention_scale, *mlp_norm, *mlp_norm_bias, *mlp_scale;
};

struct EncoderPlan {
  int32_t layers, hidden, heads, intermediate, activation, rms_norm, gated;
  float eps;
  const EncoderLayerPlan* layer;
};

struct EncoderStep {
  const void* input;  // [tokens, hidden], bf16 if `bf16`
  void* output;
  const int64_t* lengths;       // of runs of tokens that see each other
  const float *cosine, *sine;   // [tokens, head_dim], or null
  int32_t runs, first_layer, last_layer, bf16, threads;
};

class Encoder : LayerStack {
 public:
  explicit Encoder(const EncoderPlan& plan)
      : LayerStack(plan.hidden), plan_(plan), layers_(plan.layer, plan.layer + plan.layers) {}

  void run(const EncoderStep& step) {
    prepare(step);
    run_team(step.threads, [&](Team& team, int thread) { forward(team, thread, step); });
  }

 private:
  int dim() const { return plan_.hidden / plan_.heads; }

  void prepare(const EncoderStep& step) {
    plan_batch(step);
    int m = batch_.num_tokens;
    reserve(m, step.threads);
    int normed = 0, attended = 0, activated = 0;
    for (const EncoderLayerPlan& layer : layers_) {  // quantisation may differ from one to the next
      if (row_format(layer.qkv) == kRowBF16) bf16_qkv_.reserve(m * qkv_stride_);
      else qkv_.reserve(m * qkv_stride_);
      normed |= row_format(layer.qkv) | row_format(layer.up);
      attended |= row_format(layer.output);
      activated |= row_format(layer.down);
    }
    normed_.reserve(m, plan_.hidden, normed);
    attended_.reserve(m, plan_.hidden, attended);
    activated_.reserve(m, plan_.intermediate, activated);
  }

  // Batch in which every run is a sequence whose tokens see all of it, with one block of keys that begins
  // at its first row.
  void plan_batch(const EncoderStep& step) {
    qkv_stride_ = round_up(3 * plan_.hidden, kLanes) + kLanes;
    starts_.assign(1, 0);
    seen_.clear();
    for (int i = 0; i < step.runs; ++i) {
      int64_t length = step.lengths[i];
      for (int64_t token = 0; token < length; ++token) seen_.insert(seen_.end(), {0, length});
      starts_.push_back(starts_.back() + length);
    }
    int64_t row = int64_t(qkv_stride_);
    int32_t longest = int32_t(*std::max_element(step.lengths, step.lengths + step.runs));
    batch_ = {int32_t(starts_.back()), step.runs, starts_.data(), step.lengths, starts_.data(),
              nullptr, seen_.data(), 1, 1, starts_.back(), row, row, longest, 0};
    shape_ = {plan_.heads, plan_.heads, dim(), 1.0f / std::sqrt(float(dim())), 0.0f, 0, 1};
    attention_.build(batch_, shape_, step.threads);
    parts_.reserve(size_t(attention_.parts) * (dim() + 2));
  }

  void forward(Team& team, int thread, const EncoderStep& step) {
    int m = batch_.num_tokens;
    each_row(team, thread, m, [&](int row) { read_row(step.input, step.bf16, row); });
    for (int i = step.first_layer; i < step.last_layer; ++i) {
      const EncoderLayerPlan& layer = layers_[i];
      attend(team, thread, m, layer, step);
      add_branch(team, thread, m, attended_, layer.output, layer.attention_scale);
      feed_forward(team, thread, m, layer);
      add_branch(team, thread, m, activated_, layer.down, layer.mlp_scale);
    }
    each_row(team, thread, m, [&](int row) { write_row(step, row); });
  }

  void write_row(const EncoderStep& step, int row) {
    size_t at = size_t(row) * plan_.hidden;
    if (step.bf16) put_all(static_cast<uint16_t*>(step.output) + at, hidden(row), plan_.hidden);
    else put_all(static_cast<float*>(step.output) + at, hidden(row), plan_.hidden);
  }

  void normalise(Team& team, int thread, int m, const float* weight, const float* bias) {
    each_row(team, thread, m, [&](int row) {
      normed_.fill(row, [&](auto* to) {
        if (plan_.rms_norm) rms_norm(hidden(row), weight, plan_.hidden, plan_.eps, to);
        else layer_norm(hidden(row), weight, bias, plan_.hidden, plan_.eps, to);
      });
    });
  }

  void attend(Team& team, int thread, int m, const EncoderLayerPlan& layer, const EncoderStep& step) {
    Scratch& scratch = scratch_[thread];
    normalise(team, thread, m, layer.attention_norm, layer.attention_norm_bias);
    if (row_format(layer.qkv) == kRowBF16) attend_rows(team, thread, m, layer.qkv, step, bf16_qkv_, scratch);
    else attend_rows(team, thread, m, layer.qkv, step, qkv_, scratch);
    convert(team, thread, m, attended_);
  }

  // Attention with keys and values in place, as columns of the QKV product.
  template <class Element>
  void attend_rows(Team& team, int thread, int m, const Weight& w, const EncoderStep& step, Buffer<Element>& qkv,
                   Scratch& scratch) {
    run_linear(team, thread, normed_.rows(), m, w, scratch.tiles, store_into(w, qkv.data(), qkv_stride_));
    team.barrier();
    if (step.cosine != nullptr)
      each_row(team, thread, m, [&](int row) { rotate_heads(step, row, qkv.data() + row * qkv_stride_, scratch.line); });
    const Element *keys = qkv.data() + plan_.hidden, *values = keys + plan_.hidden;
    run_attention<Element, Element>(team, thread, attention_, batch_, shape_, scratch.attention, qkv.data(),
                                    qkv_stride_, keys, values, attended_, parts_.data());
  }

  // Rotate the queries and keys of one token.
  template <class Element>
  void rotate_heads(const EncoderStep& step, int row, Element* heads, Buffer<float>& buffer) {
    float* line = buffer.reserve(dim());
    size_t angles = size_t(row) * dim();
    for (int h = 0; h < 2 * plan_.heads; ++h, heads += dim()) {
      put_all(line, heads, dim());
      rotate(line, step.cosine + angles, step.sine + angles, dim());
      put_all(heads, line, dim());
    }
  }

  // hidden += scale * (weight · input); null for a scale of 1.
  void add_branch(Team& team, int thread, int m, const RowBuffer& input, const Weight& w, const float* scale) {
    run_linear(team, thread, input.rows(), m, w, scratch_[thread].tiles, add_into(w, hidden_.data(), stride_, scale));
    team.barrier();
  }

  void feed_forward(Team& team, int thread, int m, const EncoderLayerPlan& layer) {
    normalise(team, thread, m, layer.mlp_norm, layer.mlp_norm_bias);
    Buffer<float>& tiles = scratch_[thread].tiles;
    if (plan_.gated) run_linear(team, thread, normed_.rows(), m, layer.up, tiles, gate_into(layer.up, activated_, plan_.activation));
    else run_linear(team, thread, normed_.rows(), m, layer.up, tiles, activate_into(layer.up, activated_, plan_.activation));
    team.barrier();
    convert(team, thread, m, activated_);
  }

  EncoderPlan plan_;
  std::vector<EncoderLayerPlan> layers_;
  std::vector<int64_t> starts_, seen_;
  Batch batch_{};
  AttentionShape shape_{};
  Buffer<uint16_t> bf16_qkv_;
  RowBuffer activated_;
};

}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT void* octavo_encoder_create(const EncoderPlan* plan) { return new Encoder(*plan); }
OCTAVO_EXPORT void octavo_encoder_free(void* encoder) { delete static_cast<Encoder*>(encoder); }
OCTAVO_EXPORT void octavo_encoder_run(void* encoder, const EncoderStep* step) {
  static_cast<Encoder*>(encoder)->run(*step);
}

OCTAVO_EXPORT_SIZE(EncoderLayerPlan)
OCTAVO_EXPORT_SIZE(EncoderPlan)
OCTAVO_EXPORT_SIZE(EncoderStep)
