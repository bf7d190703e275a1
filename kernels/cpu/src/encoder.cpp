// The layers of a vision transformer in one parallel region, as decoder.cpp does it for a decoder.
#include <vector>

#include "attention.h"
#include "elementwise.h"
#include "exports.h"
#include "linear.h"

namespace octavo {

// Passed from Python; keep library.py in step. Norm weights and biases are float32.
struct EncoderLayerPlan {
  Weight qkv, output, up, down;
  const float *attention_norm, *attention_norm_bias, *mlp_norm, *mlp_norm_bias;
};

struct EncoderPlan {
  int32_t layers, hidden, heads, intermediate, activation;
  float eps;
  const EncoderLayerPlan* layer;
};

// Images of one size: [images, tokens, hidden] in and out, bf16 if `narrow`.
struct EncoderStep {
  const void* input;
  void* output;
  int32_t images, tokens, first_layer, last_layer, narrow, threads;
};

class Encoder {
 public:
  explicit Encoder(const EncoderPlan& plan) : plan_(plan), layers_(plan.layer, plan.layer + plan.layers) {}

  void run(const EncoderStep& step) {
    prepare(step);
    run_team(step.threads, [&](Team& team, int thread) { forward(team, thread, step); });
  }

 private:
  struct Scratch {
    Buffer<float> tiles;
    Attention<float> attention;
    Attention<uint16_t> narrow_attention;
  };

  int dim() const { return plan_.hidden / plan_.heads; }

  void prepare(const EncoderStep& step) {
    int m = step.images * step.tokens;
    stride_ = round_up(plan_.hidden, kLanes);
    qkv_stride_ = round_up(3 * plan_.hidden, kLanes) + kLanes;
    hidden_.reserve(m * stride_);
    int normed = 0, attended = 0, raised = 0;
    for (const EncoderLayerPlan& layer : layers_) {  // quantisation may differ from one to the next
      if (row_kind(layer.qkv) == kRowNarrow) narrow_qkv_.reserve(m * qkv_stride_);
      else qkv_.reserve(m * qkv_stride_);
      normed |= row_kind(layer.qkv) | row_kind(layer.up);
      attended |= row_kind(layer.output);
      raised |= row_kind(layer.down);
    }
    normed_.reserve(m, plan_.hidden, normed);
    attended_.reserve(m, plan_.hidden, attended);
    raised_.reserve(m, plan_.intermediate, raised);
    if (int(scratch_.size()) < step.threads) scratch_ = std::vector<Scratch>(step.threads);
    lay_out(step);
  }

  // Every image is a sequence whose tokens see all of it, its keys one block of the cache.
  void lay_out(const EncoderStep& step) {
    starts_.clear();
    blocks_.clear();
    runs_.clear();
    for (int i = 0; i <= step.images; ++i) starts_.push_back(int64_t(i) * step.tokens);
    for (int i = 0; i < step.images; ++i) blocks_.push_back(i);
    lengths_.assign(step.images, step.tokens);
    for (int i = 0; i < step.images * step.tokens; ++i) runs_.insert(runs_.end(), {0, step.tokens});
    batch_ = {step.images * step.tokens, step.images, starts_.data(), lengths_.data(), blocks_.data(),
              nullptr, runs_.data(), 1, int64_t(step.tokens * qkv_stride_), int64_t(qkv_stride_), step.tokens, 0};
    shape_ = {plan_.heads, plan_.heads, dim(), 1.0f / std::sqrt(float(dim())), 0.0f, 0, 1};
    attention_.build(batch_, shape_, step.threads);
    parts_.reserve(size_t(attention_.parts) * (dim() + 2));
  }

  void forward(Team& team, int thread, const EncoderStep& step) {
    int m = batch_.num_tokens;
    each_row(team, thread, m, [&](int row) { read_row(step, row); });
    for (int i = step.first_layer; i < step.last_layer; ++i) {
      const EncoderLayerPlan& layer = layers_[i];
      attend(team, thread, m, layer);
      add_branch(team, thread, m, attended_, layer.output);
      feed_forward(team, thread, m, layer);
      add_branch(team, thread, m, raised_, layer.down);
    }
    each_row(team, thread, m, [&](int row) { write_row(step, row); });
  }

  float* hidden(int row) const { return hidden_.data() + row * stride_; }

  void read_row(const EncoderStep& step, int row) {
    size_t at = size_t(row) * plan_.hidden;
    if (step.narrow) put_all(hidden(row), static_cast<const uint16_t*>(step.input) + at, plan_.hidden);
    else put_all(hidden(row), static_cast<const float*>(step.input) + at, plan_.hidden);
  }

  void write_row(const EncoderStep& step, int row) {
    size_t at = size_t(row) * plan_.hidden;
    if (step.narrow) put_all(static_cast<uint16_t*>(step.output) + at, hidden(row), plan_.hidden);
    else put_all(static_cast<float*>(step.output) + at, hidden(row), plan_.hidden);
  }

  void normalise(Team& team, int thread, int m, const float* weight, const float* bias) {
    each_row(team, thread, m, [&](int row) {
      normed_.fill(row, [&](auto* to) { layer_norm(hidden(row), weight, bias, plan_.hidden, plan_.eps, to); });
    });
  }

  void attend(Team& team, int thread, int m, const EncoderLayerPlan& layer) {
    Scratch& scratch = scratch_[thread];
    normalise(team, thread, m, layer.attention_norm, layer.attention_norm_bias);
    if (row_kind(layer.qkv) == kRowNarrow) attend_rows(team, thread, m, layer.qkv, narrow_qkv_, scratch.tiles, scratch.narrow_attention);
    else attend_rows(team, thread, m, layer.qkv, qkv_, scratch.tiles, scratch.attention);
    if (!attended_.direct()) each_row(team, thread, m, [&](int row) { attended_.convert(row); });
  }

  // Keys and values stay where the product leaves them, beside the queries.
  template <class Element>
  void attend_rows(Team& team, int thread, int m, const Weight& w, Buffer<Element>& qkv, Buffer<float>& tiles,
                   Attention<Element>& state) {
    run_linear(team, thread, normed_.rows(), m, w, tiles, store_into(w, qkv.data(), qkv_stride_));
    team.barrier();
    const Element *keys = qkv.data() + plan_.hidden, *values = keys + plan_.hidden;
    run_attention(team, thread, attention_, batch_, shape_, state, qkv.data(), qkv_stride_, keys, values, attended_,
                  parts_.data());
  }

  void add_branch(Team& team, int thread, int m, const RowBuffer& input, const Weight& w) {
    run_linear(team, thread, input.rows(), m, w, scratch_[thread].tiles, add_into(w, hidden_.data(), stride_));
    team.barrier();
  }

  void feed_forward(Team& team, int thread, int m, const EncoderLayerPlan& layer) {
    normalise(team, thread, m, layer.mlp_norm, layer.mlp_norm_bias);
    const Weight& w = layer.up;
    run_linear(team, thread, normed_.rows(), m, w, scratch_[thread].tiles,
               [&](int row, int rows, int panel, int panels, const float* tiles) {
                 for (int p = 0; p < panels; ++p) {
                   Vec bias = bias_of(w, panel + p);
                   for (int r = 0; r < rows; ++r)
                     raised_.put(row + r, (panel + p) * kLanes,
                                 activate(load(tiles + (size_t(p) * rows + r) * kLanes) + bias, plan_.activation,
                                          raised_.narrow()));
                 }
               });
    team.barrier();
    if (!raised_.direct()) each_row(team, thread, m, [&](int row) { raised_.convert(row); });
  }

  EncoderPlan plan_;
  std::vector<EncoderLayerPlan> layers_;
  std::vector<Scratch> scratch_;
  std::vector<int64_t> starts_, lengths_, blocks_, runs_;
  Batch batch_{};
  AttentionShape shape_{};
  AttentionPlan attention_;
  size_t stride_ = 0, qkv_stride_ = 0;
  Buffer<float> hidden_, qkv_, parts_;
  Buffer<uint16_t> narrow_qkv_;
  RowBuffer normed_, attended_, raised_;
};

}  // namespace octavo

using namespace octavo;

OCTAVO_EXPORT void* octavo_encoder_create(const EncoderPlan* plan) { return new Encoder(*plan); }
OCTAVO_EXPORT void octavo_encoder_free(void* encoder) { delete static_cast<Encoder*>(encoder); }
OCTAVO_EXPORT void octavo_encoder_run(void* encoder, const EncoderStep* step) {
  static_cast<Encoder*>(encoder)->run(*step);
}
