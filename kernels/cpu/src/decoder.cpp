// Decoder in one parallel region, with barriers between its phases, so that a step costs neither Python
// nor a fork and join for each operation.
#include <vector>

#include "batch_check.h"
#include "elementwise.h"
#include "exports.h"
#include "layer_stack.h"

namespace octavo {

// Passed from Python; keep library.py in step. Norm weights are float32; null for norms that a family
// lacks.
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
  const void* input;  // [num_tokens, hidden], bf16 if `bf16`
  void* output;
  const float* const* cosine;  // of each kind of rope, [num_tokens, rotary width]
  const float* const* sine;
  const int32_t* rotary_width;
  const int64_t* rotary_stride;  // from token to token
  void* const* keys;  // of each layer
  void* const* values;
  const int64_t* output_rows;  // ascending, each once
  int32_t num_output_rows;     // or -1 for all
  int32_t bf16, threads;

  bool all_rows() const { return num_output_rows < 0; }
};

class Decoder : LayerStack {
 public:
  explicit Decoder(const DecoderPlan& plan)
      : LayerStack(plan.hidden), plan_(plan), layers_(plan.layer, plan.layer + plan.layers) {}

  void run(const DecoderStep& step) {
    prepare(step);
    run_team(step.threads, [&](Team& team, int thread) { forward(team, thread, step); });
  }

 private:
  void prepare(const DecoderStep& step) {
    int m = step.batch.num_tokens;
    reserve(m, step.threads);
    qkv_stride_ = round_up((plan_.heads + 2 * plan_.kv_heads) * plan_.head_dim, kLanes) + kLanes;
    branch_.reserve(m * stride_);
    qkv_.reserve(m * qkv_stride_);
    int normed = 0, attended = 0, gated = 0;
    for (const LayerPlan& layer : layers_) {  // quantisation may differ from one to the next
      normed |= row_format(layer.qkv) | row_format(layer.gate_up);
      attended |= row_format(layer.output);
      gated |= row_format(layer.down);
    }
    normed_.reserve(m, plan_.hidden, normed);
    attended_.reserve(m, plan_.heads * plan_.head_dim, attended);
    gated_.reserve(m, plan_.intermediate, gated);
    AttentionShape shape = this->shape(layers_[0]);
    attention_.build(step.batch, shape, step.threads);
    parts_.reserve(size_t(attention_.parts) * shape.group() * (plan_.head_dim + 2));
  }

  AttentionShape shape(const LayerPlan& layer) const {
    return {plan_.heads, plan_.kv_heads, plan_.head_dim, plan_.scale, plan_.softcap, layer.window, layer.qkv.bf16_activations};
  }

  void forward(Team& team, int thread, const DecoderStep& step) {
    int m = step.batch.num_tokens;
    each_row(team, thread, m, [&](int row) { read_row(step.input, step.bf16, row); });
    for (int i = 0; i < plan_.layers; ++i) {
      const LayerPlan& layer = layers_[i];
      attend(team, thread, step, i);
      if (i + 1 == plan_.layers && !step.all_rows()) m = keep_output_rows(team, thread, step);
      convert(team, thread, m, attended_);
      add_branch(team, thread, m, attended_, layer.output, layer.attention_norm);
      feed_forward(team, thread, m, layer);
      add_branch(team, thread, m, gated_, layer.down, layer.mlp_norm);
    }
    each_row(team, thread, m, [&](int row) { write_row(step, row); });
  }

  // After the last attention only output rows are needed: compact them.
  int keep_output_rows(Team& team, int thread, const DecoderStep& step) {
    for (int i = 0; thread == 0 && i < step.num_output_rows; ++i) {
      int row = int(step.output_rows[i]);
      std::memmove(hidden(i), hidden(row), sizeof(float) * plan_.hidden);
      attended_.copy(row, i);
    }
    team.barrier();
    return step.num_output_rows;
  }

  void write_row(const DecoderStep& step, int row) {
    size_t at = size_t(step.all_rows() ? row : step.output_rows[row]) * plan_.hidden;
    auto write = [&](auto* to) { rms_norm(hidden(row), plan_.final_norm, plan_.hidden, plan_.eps, to); };
    if (step.bf16) write(static_cast<uint16_t*>(step.output) + at);
    else write(static_cast<float*>(step.output) + at);
  }

  // Normalise hidden states into the input of `next`, while its weights are prefetched.
  void normalise(Team& team, int thread, int m, const float* weight, const Weight& next) {
    prefetch_linear(team, thread, m, next);
    each_row(team, thread, m, [&](int row) {
      normed_.fill(row, [&](auto* to) { rms_norm(hidden(row), weight, plan_.hidden, plan_.eps, to); });
    });
  }

  void attend(Team& team, int thread, const DecoderStep& step, int index) {
    const LayerPlan& layer = layers_[index];
    int m = step.batch.num_tokens;
    Scratch& scratch = scratch_[thread];
    normalise(team, thread, m, layer.input_norm, layer.qkv);
    run_linear(team, thread, normed_.rows(), m, layer.qkv, scratch.tiles,
               store_into(layer.qkv, qkv_.data(), qkv_stride_));
    with_cache_type(step.batch.cache_type, [&](auto* none) { prefetch_cache(thread, step, index, none); });
    prefetch_linear(team, thread, m, layer.output);
    team.barrier();
    with_cache_type(step.batch.cache_type, [&](auto* none) { attend_cache(team, thread, step, index, none); });
  }

  template <class Element>
  void prefetch_cache(int thread, const DecoderStep& step, int index, Element*) {
    if (thread >= int(attention_.tasks.size())) return;
    prefetch_first(step.batch, shape(layers_[index]), attention_.tasks[thread],
                   static_cast<const Element*>(step.keys[index]), static_cast<const Element*>(step.values[index]));
  }

  template <class Element>
  void attend_cache(Team& team, int thread, const DecoderStep& step, int index, Element*) {
    const LayerPlan& layer = layers_[index];
    int m = step.batch.num_tokens;
    Element* keys = static_cast<Element*>(step.keys[index]);
    Element* values = static_cast<Element*>(step.values[index]);
    each_row(team, thread, m, [&](int row) { write_kv_row(layer, step, row, keys, values); });
    AttentionShape shape = this->shape(layer);
    run_attention<Element, float>(team, thread, attention_, step.batch, shape, scratch_[thread].attention,
                                  qkv_.data(), qkv_stride_, keys, values, attended_, parts_.data());
  }

  // Normalise and rotate a token's queries and keys; store its keys and values in the cache.
  template <class Element>
  void write_kv_row(const LayerPlan& layer, const DecoderStep& step, int row, Element* keys, Element* values) {
    int dim = plan_.head_dim, width = step.rotary_width[layer.rope];
    size_t angles = size_t(row) * step.rotary_stride[layer.rope];
    const float *cosine = step.cosine[layer.rope] + angles, *sine = step.sine[layer.rope] + angles;
    float* heads = qkv_.data() + row * qkv_stride_;
    for (int h = 0; h < plan_.heads + plan_.kv_heads; ++h) {
      float* head = heads + size_t(h) * dim;
      const float* norm = h < plan_.heads ? layer.query_norm : layer.key_norm;
      if (norm) rms_norm(head, norm, dim, plan_.eps, head);
      rotate(head, cosine, sine, width);
    }
    size_t at = step.batch.offset(step.batch.slot_mapping[row]);
    const float* key = heads + size_t(plan_.heads) * dim;
    write_heads(keys + at, key, plan_.kv_heads, dim);
    write_heads(values + at, key + size_t(plan_.kv_heads) * dim, plan_.kv_heads, dim);
  }

  // hidden += weight · input, or += norm(weight · input) in families with post-norms.
  void add_branch(Team& team, int thread, int m, const RowBuffer& input, const Weight& w, const float* norm) {
    Buffer<float>& tiles = scratch_[thread].tiles;
    if (norm == nullptr) {
      run_linear(team, thread, input.rows(), m, w, tiles, add_into(w, hidden_.data(), stride_));
      team.barrier();
      return;
    }
    run_linear(team, thread, input.rows(), m, w, tiles, store_into(w, branch_.data(), stride_));
    team.barrier();
    each_row(team, thread, m, [&](int row) {
      float* branch = branch_.data() + row * stride_;
      rms_norm(branch, norm, plan_.hidden, plan_.eps, branch);
      for (int i = 0; i < plan_.hidden; ++i) hidden(row)[i] += branch[i];
    });
  }

  void feed_forward(Team& team, int thread, int m, const LayerPlan& layer) {
    normalise(team, thread, m, layer.mlp_input_norm, layer.gate_up);
    const Weight& w = layer.gate_up;
    run_linear(team, thread, normed_.rows(), m, w, scratch_[thread].tiles, gate_into(w, gated_, plan_.activation));
    prefetch_linear(team, thread, m, layer.down);
    team.barrier();
    convert(team, thread, m, gated_);
  }

  DecoderPlan plan_;
  std::vector<LayerPlan> layers_;
  Buffer<float> branch_;
  RowBuffer gated_;
};

}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT void* octavo_decoder_create(const DecoderPlan* plan) { return new Decoder(*plan); }
OCTAVO_EXPORT void octavo_decoder_free(void* decoder) { delete static_cast<Decoder*>(decoder); }
// Returns an error message for an invalid step, or null after it was run.
OCTAVO_EXPORT const char* octavo_decoder_run(void* decoder, const DecoderStep* step) {
  const char* fault = fault_of(step->batch);
  if (fault == nullptr) fault = fault_of_rows(step->output_rows, step->num_output_rows, step->batch.num_tokens);
  if (fault == nullptr) static_cast<Decoder*>(decoder)->run(*step);
  return fault;
}

OCTAVO_EXPORT_SIZE(LayerPlan)
OCTAVO_EXPORT_SIZE(DecoderPlan)
OCTAVO_EXPORT_SIZE(DecoderStep)
