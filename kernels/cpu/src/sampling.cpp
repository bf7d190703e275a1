// Top-k and top-p sampling without sorting the vocabulary, and masks before it; see
// kernels.ops.SampleTopKTopP and MaskTokens.
#include <algorithm>
#include <limits>
#include <vector>

#include "exports.h"
#include "simd.h"
#include "team.h"

namespace octavo {

namespace {

constexpr int kBlock = 64;
// Candidates for top-p that are tried before the whole vocabulary.
constexpr int kTopPCandidates = 256;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Settings {
  float temperature;
  int64_t top_k;
  float top_p, uniform;
};

struct Token {
  int32_t id;
  float logit, weight;
};

class RowSampler {
 public:
  explicit RowSampler(int vocab_size) : size_(vocab_size), maxima_((vocab_size + kBlock - 1) / kBlock) {}

  // Returns a token id, or -1 for a row whose largest logit is not finite.
  int64_t sample(const float* logits, const Settings& settings) {
    logits_ = logits;
    if (!find_max()) return -1;
    if (settings.temperature == 0) return first_largest();
    temperature_ = settings.temperature;
    bool all = settings.top_k <= 0 || settings.top_k >= size_;
    if (all && settings.top_p >= 1) {
      weight_all();
      return draw_from_all(settings.uniform);
    }
    if (all) {
      double mass = settings.top_p * weight_all();
      gather(kTopPCandidates);
      if (total() < mass) gather(size_);
      keep_nucleus(mass);
    } else {
      gather(settings.top_k);
      keep_largest(settings.top_k);
      if (settings.top_p < 1) keep_nucleus(settings.top_p * total());
    }
    return draw(settings.uniform);
  }

 private:
  // Sixteen logits, -inf beyond the vocabulary.
  Vec lanes(int at) const {
    if (at + kLanes <= size_) return load(logits_ + at);
    float line[kLanes];
    for (int i = 0; i < kLanes; ++i) line[i] = at + i < size_ ? logits_[at + i] : kMinusInfinity;
    return load(line);
  }

  bool find_max() {
    max_logit_ = kMinusInfinity;
    for (size_t b = 0; b < maxima_.size(); ++b) {
      int start = int(b) * kBlock, end = std::min(start + kBlock, size_);
      Vec top = splat(kMinusInfinity);
      for (int i = start; i < end; i += kLanes) {
        Vec x = lanes(i);
        if (any_nan(x)) return false;
        top = max(top, x);
      }
      maxima_[b] = largest(top);
      max_logit_ = std::max(max_logit_, maxima_[b]);
    }
    return std::isfinite(max_logit_);
  }

  int64_t first_largest() const {
    int at = int(std::find(maxima_.begin(), maxima_.end(), max_logit_) - maxima_.begin()) * kBlock;
    while (logits_[at] != max_logit_) ++at;
    return at;
  }

  // Unnormalised probabilities, 1 for the largest logit; 0 where exp is clamped.
  Vec weights(Vec logits) const {
    Vec x = (logits - splat(max_logit_)) * splat(1.0f / temperature_);
    return max(exp(x) - splat(2e-38f), zero());
  }

  // Weights of the whole vocabulary, and each block's sum; returns the total.
  double weight_all() {
    weights_.resize(maxima_.size() * kBlock);
    sums_.resize(maxima_.size());
    double total = 0;
    for (size_t b = 0; b < maxima_.size(); ++b) {
      Vec sums = zero();
      for (int i = 0; i < kBlock; i += kLanes) {
        int at = int(b) * kBlock + i;
        Vec w = at < size_ ? weights(lanes(at)) : zero();
        store(weights_.data() + at, w);
        sums = sums + w;
      }
      sums_[b] = sum(sums);
      total += sums_[b];
    }
    return total;
  }

  // Candidates: keep, in order, all tokens not below the `count`-th largest block maximum, which is a lower
  // bound of the `count`-th largest logit.
  void gather(int64_t count) {
    float bound = kMinusInfinity;
    if (count <= int64_t(maxima_.size())) {
      ordered_ = maxima_;
      std::nth_element(ordered_.begin(), ordered_.begin() + (count - 1), ordered_.end(), std::greater<float>());
      bound = ordered_[count - 1];
    }
    kept_.clear();
    for (size_t b = 0; b < maxima_.size(); ++b) {
      if (maxima_[b] < bound) continue;
      int end = std::min(int(b + 1) * kBlock, size_);
      for (int i = int(b) * kBlock; i < end; ++i)
        if (logits_[i] >= bound) kept_.push_back({i, logits_[i], 0});
    }
    for (size_t i = 0; i < kept_.size(); i += kLanes) {
      float line[kLanes];
      int present = int(std::min<size_t>(kLanes, kept_.size() - i));
      for (int j = 0; j < kLanes; ++j) line[j] = j < present ? kept_[i + j].logit : kMinusInfinity;
      store(line, weights(load(line)));
      for (int j = 0; j < present; ++j) kept_[i + j].weight = line[j];
    }
  }

  double total() const {
    double total = 0;
    for (const Token& token : kept_) total += token.weight;
    return total;
  }

  static bool likelier(const Token& a, const Token& b) { return a.logit > b.logit; }

  // Keep candidates above a logit, and the first `equals` equal to it.
  void keep_from(float logit, int64_t equals) {
    kept_.erase(std::remove_if(kept_.begin(), kept_.end(),
                               [&](const Token& t) { return t.logit < logit || (t.logit == logit && equals-- <= 0); }),
                kept_.end());
  }

  void keep_largest(int64_t count) {
    if (count >= int64_t(kept_.size())) return;
    ranked_ = kept_;
    std::nth_element(ranked_.begin(), ranked_.begin() + (count - 1), ranked_.end(), likelier);
    float smallest = ranked_[count - 1].logit;
    int64_t above = std::count_if(kept_.begin(), kept_.end(), [&](const Token& t) { return t.logit > smallest; });
    keep_from(smallest, count - above);
  }

  // Nucleus: keep candidates whose cumulative weight before them, by falling logit, is below `mass`.
  // Quickselect: only the half in which `mass` is reached is partitioned further.
  void keep_nucleus(double mass) {
    ranked_ = kept_;
    auto first = ranked_.begin(), last = ranked_.end();
    double before = 0;
    while (last - first > 1) {
      auto middle = first + (last - first) / 2;
      std::nth_element(first, middle, last, likelier);
      double half = 0;
      for (auto t = first; t < middle; ++t) half += t->weight;
      if (before + half >= mass) {
        last = middle;
      } else {
        before += half;
        first = middle;
      }
    }
    Token smallest = *first;
    double above = 0;
    for (const Token& t : kept_) above += t.logit > smallest.logit ? double(t.weight) : 0.0;
    int64_t equals = 1;
    if (smallest.weight > 0) equals = std::max<int64_t>(1, int64_t(std::ceil((mass - above) / smallest.weight)));
    keep_from(smallest.logit, equals);
  }

  // Draw a candidate; if rounding leaves none, the last one of non-zero weight.
  int64_t draw(float uniform) const {
    double target = uniform * total(), running = 0;
    int64_t last = 0;
    for (const Token& token : kept_) {
      if (token.weight == 0) continue;
      last = token.id;
      running += token.weight;
      if (running > target) break;
    }
    return last;
  }

  int64_t draw_from_all(float uniform) const {
    double total = 0, running = 0;
    for (float s : sums_) total += s;
    double target = uniform * total;
    size_t block = 0;
    while (block + 1 < sums_.size() && running + sums_[block] <= target) running += sums_[block++];
    int64_t last = 0;
    for (int64_t i = int64_t(block) * kBlock; i < size_; ++i) {
      if (weights_[i] == 0) continue;
      last = i;
      running += weights_[i];
      if (running > target) return last;
    }
    return last ? last : first_largest();
  }

  const float* logits_ = nullptr;
  int size_;
  float max_logit_ = 0, temperature_ = 1;
  std::vector<float> maxima_, ordered_, weights_, sums_;
  std::vector<Token> kept_, ranked_;
};

constexpr int kWordBits = 32;

// Words of nothing but ones, which are most where a text is free, leave their logits unread.
void mask_row(float* logits, int32_t vocab_size, const int32_t* bitmask) {
  for (int32_t start = 0; start < vocab_size; start += kWordBits) {
    uint32_t word = uint32_t(bitmask[start / kWordBits]);
    if (word == ~0u) continue;
    int32_t count = std::min(kWordBits, vocab_size - start);
    for (int32_t i = 0; i < count; ++i) logits[start + i] = word >> i & 1 ? logits[start + i] : kMinusInfinity;
  }
}

}  // namespace

}  // namespace octavo

using namespace octavo;

// logits: rows of vocab_size, `stride` apart.
OCTAVO_EXPORT void octavo_sample(const float* logits, int64_t stride, int64_t rows, int32_t vocab_size,
                                 const float* temperature, const int64_t* top_k, const float* top_p,
                                 const float* uniform, int64_t* tokens, int32_t threads) {
  run_team(rows > 1 ? threads : 1, [&](Team& team, int) {
    RowSampler sampler(vocab_size);
    for (int64_t row = team.next(); row < rows; row = team.next())
      tokens[row] = sampler.sample(logits + row * stride, {temperature[row], top_k[row], top_p[row], uniform[row]});
  });
}

// logits: rows of vocab_size, `stride` apart. bitmask: for each of the `count` rows, `words` apart. One thread:
// a row takes some microseconds.
OCTAVO_EXPORT void octavo_mask_tokens(float* logits, int64_t stride, int32_t vocab_size, const int64_t* rows,
                                      int64_t count, const int32_t* bitmask, int64_t words) {
  for (int64_t i = 0; i < count; ++i) mask_row(logits + rows[i] * stride, vocab_size, bitmask + i * words);
}
