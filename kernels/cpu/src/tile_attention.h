// Attention of many query rows of one key head, with softmax in one pass over tiles of keys (Dao et
// al., 2022, arXiv:2205.14135).
//
// Keys of a tile are transposed, and its values packed, as panels of a weight, so that both products are
// those of a linear layer.
#pragma once

#include <type_traits>

#include "attention_plan.h"
#include "cache_element.h"
#include "matmul.h"
#include "rows.h"
#include "softmax.h"

namespace octavo {

inline void transpose_plain(const uint32_t* const* rows, int keys, int from, int width, uint32_t* out) {
  for (int e = from; e < width; ++e)
    for (int key = 0; key < kLanes; ++key) out[e * kLanes + key] = key < keys ? rows[key][e] : 0;
}

// Rows of `width` words of sixteen keys -> [width][16]; columns beyond `keys` become zero.
inline void transpose(const uint32_t* const* rows, int keys, int width, uint32_t* out) {
#if defined(__AVX2__)
  int full = width / 8 * 8;
  for (int half = 0; half < 2; ++half) {
    for (int e = 0; e < full; e += 8) {
      __m256 r[8], t[8];
      for (int i = 0; i < 8; ++i) {
        int key = half * 8 + i;
        r[i] = key < keys ? _mm256_loadu_ps(reinterpret_cast<const float*>(rows[key] + e))
                          : _mm256_setzero_ps();
      }
      for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
      }
      for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
      }
      float* to = reinterpret_cast<float*>(out + e * kLanes + half * 8);
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * kLanes, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * kLanes, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
      }
    }
  }
  transpose_plain(rows, keys, full, width, out);
#else
  transpose_plain(rows, keys, 0, width, out);
#endif
}

// Interleave sixteen elements of each row: (even, odd) pairs.
template <class Element>
inline void interleave(const Element* even, const Element* odd, Element* out) {
#if defined(__AVX2__)
  if constexpr (sizeof(Element) == 2) {
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd));
    __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
    __m256i* to = reinterpret_cast<__m256i*>(out);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
    return;
  }
#endif
  for (int c = 0; c < kLanes; ++c) {
    out[2 * c] = even[c];
    out[2 * c + 1] = odd[c];
  }
}

// Element is one of the cache's. Codes are packed as bf16, and products with them scaled afterwards.
template <class Element>
class TileAttention {
  using Packed = std::conditional_t<kScaled<Element>, uint16_t, Element>;

 public:
  // Copy of a task's queries of one key head; begins its softmax.
  template <class Query>
  void begin(const AttentionShape& shape, const AttentionTask& task, int kv_head, const Query* query,
             size_t stride) {
    group_ = shape.group();
    rows_ = task.tokens * group_;
    dim_ = shape.head_dim;
    kv_head_ = kv_head;
    width_ = head_width<Element>(dim_);
    bf16_ = !kWide && kBF16Products && shape.bf16_products;
    padded_dim_ = round_up(dim_, bf16_ ? 2 * kLanes : kLanes);
    query_.reserve(size_t(rows_) * padded_dim_);
    keys_.reserve(size_t(kKeyTile) * padded_dim_);
    values_.reserve(size_t(kKeyTile) * padded_dim_);
    if (kScaled<Element>) codes_.reserve(size_t(2 * kLanes) * padded_dim_);
    scores_.reserve(size_t(rows_) * kKeyTile);
    if (!bf16_) weights_.reserve(size_t(rows_) * kKeyTile);
    output_.reserve(size_t(rows_) * padded_dim_);
    softmax_.assign(rows_, RunningSoftmax());
    std::memset(output_.data(), 0, sizeof(float) * rows_ * padded_dim_);
    for (int r = 0; r < rows_; ++r) {
      const Query* source = query + (task.token + r / group_) * stride + size_t(kv_head * group_ + r % group_) * dim_;
      float* q = query_.data() + size_t(r) * padded_dim_;
      for (int d = 0; d < dim_; ++d) q[d] = to_float(source[d]) * shape.scale;
      for (int d = dim_; d < padded_dim_; ++d) q[d] = 0;
    }
    if (!bf16_) return;
    size_t queries = size_t(rows_) * padded_dim_;
    put_all(bf16_query_.reserve(queries), query_.data(), queries);
    bf16_weights_.reserve(size_t(rows_) * kKeyTile);
    pairs_.reserve(size_t(kKeyTile) * padded_dim_);
  }

  // After `begin`.
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Element* keys,
           const Element* values) {
    KeyRange seen = find_keys(batch, shape, task, ranges_);
    OffsetCursor offsets(batch, task.seq, seen.first);
    for (int64_t key = seen.first; key < seen.last; key += kKeyTile) {
      int count = int(std::min<int64_t>(kKeyTile, seen.last - key));
      for (int panel = 0; panel * kLanes < count; ++panel)
        gather(offsets, std::min(kLanes, count - panel * kLanes), panel, keys, values);
      score(count);
      update_softmax(shape, key, count);
      add_values(count);
    }
  }

  const RunningSoftmax& softmax(int row) const { return softmax_[row]; }
  // Weighted sum of values, times `scale`.
  void write(int row, float scale, float* to) const {
    for (int d = 0; d < dim_; d += kLanes) {
      Vec part = load(output_.data() + (size_t(d / kLanes) * rows_ + row) * kLanes) * splat(scale);
      if (d + kLanes <= dim_) store(to + d, part);
      else put_first(to + d, part, dim_ - d);
    }
  }

 private:
  static constexpr bool kWide = sizeof(Packed) == 4;

  // Gather up to sixteen keys and values into one panel of keys, and rows of the value panels.
  void gather(OffsetCursor& offsets, int count, int panel, const Element* keys, const Element* values) {
    const Packed *key_rows[kLanes] = {}, *value_rows[kLanes] = {};
    float *key_scales = key_scales_ + panel * kLanes, *value_scales = value_scales_ + panel * kLanes;
    for (int i = 0; i < count; ++i) {
      size_t at = offsets.next() + kv_head_ * width_;
      key_rows[i] = read_head(keys + at, 2 * i, key_scales[i]);
      value_rows[i] = read_head(values + at, 2 * i + 1, value_scales[i]);
    }
    if (kScaled<Element>) {
      std::fill(key_scales + count, key_scales + kLanes, 0.0f);
      std::fill(value_scales + count, value_scales + kLanes, 0.0f);
    }
    if (bf16_) pack_value_pairs(value_rows, panel * kLanes);
    else for (int i = 0; i < round_up(count, 4); ++i) pack_value(value_rows[i], panel * kLanes + i);
    int words = kWide ? dim_ : dim_ / 2, padded_words = kWide ? padded_dim_ : padded_dim_ / 2;
    uint32_t* out = reinterpret_cast<uint32_t*>(keys_.data()) + size_t(panel) * padded_words * kLanes;
    transpose(reinterpret_cast<const uint32_t* const*>(key_rows), count, words, out);
    std::memset(out + size_t(words) * kLanes, 0, sizeof(uint32_t) * (padded_words - words) * kLanes);
  }

  // Head as it is, or its codes in `row` of a buffer, and their scale.
  const Packed* read_head(const Element* head, int row, float& scale) {
    if constexpr (!kScaled<Element>) {
      return head;
    } else {
      scale = scale_of(head, dim_);
      Packed* codes = codes_.data() + size_t(row) * padded_dim_;
      widen_codes(codes, head, dim_);
      return codes;
    }
  }

  // Pack the values of sixteen keys, or zeros, in pairs: panels [padded_dim / 16][32][16][2].
  void pack_value_pairs(const Packed* const* rows, int first) {
    for (int i = 0; i < kLanes; i += 2) {
      const Packed *even = rows[i], *odd = rows[i + 1];
      for (int d = 0; d < padded_dim_; d += kLanes) {
        Packed* out = pairs_.data() + size_t(d) * kKeyTile + size_t(first + i) * kLanes;
        if (odd != nullptr && d + kLanes <= dim_) {
          interleave(even + d, odd + d, out);
          continue;
        }
        for (int c = 0; c < kLanes; ++c) {
          bool within = d + c < dim_;
          out[2 * c] = within && even != nullptr ? even[d + c] : Packed(0);
          out[2 * c + 1] = within && odd != nullptr ? odd[d + c] : Packed(0);
        }
      }
    }
  }

  // Pack one key's value, or zeros, as row `i` of the value panels: [padded_dim / 16][64][16].
  void pack_value(const Packed* value, int i) {
    for (int d = 0; d < padded_dim_; d += kLanes) {
      float* out = values_.data() + (size_t(d) * kKeyTile) + size_t(i) * kLanes;
      if (value != nullptr && d + kLanes <= dim_) {
        store(out, load(value + d));
      } else {
        for (int c = 0; c < kLanes; ++c)
          out[c] = value != nullptr && d + c < dim_ ? to_float(value[d + c]) : 0.0f;
      }
    }
  }

  static Rows float_rows(const float* values, size_t stride) {
    return {values, stride, nullptr, 0, nullptr, 0, nullptr, 0};
  }

  static Rows bf16_rows(const uint16_t* values, size_t stride) {
    return {nullptr, 0, values, stride, nullptr, 0, nullptr, 0};
  }

  void score(int count) {
    Panels panels{reinterpret_cast<const uint8_t*>(keys_.data()),
                  size_t(padded_dim_) * kLanes * sizeof(Packed), padded_dim_,
                  (count + kLanes - 1) / kLanes};
    if (bf16_)
      return multiply_bf16(bf16_rows(bf16_query_.data(), padded_dim_), rows_, panels, scores_.data(), true);
    Rows rows = float_rows(query_.data(), padded_dim_);
    multiply_float(kWide ? kFloat32 : kBFloat16, rows, rows_, panels, scores_.data(), true);
  }

  void update_softmax(const AttentionShape& shape, int64_t from, int count) {
    int panels = (count + kLanes - 1) / kLanes;
    for (int r = 0; r < rows_; ++r) {
      KeyRange part = within(ranges_[r / group_], from, count);
      bool full = part.first == 0 && part.last == kKeyTile && shape.softcap <= 0;
      float factor = full ? exp_full_tile(r) : exp_partial_tile(r, panels, part, shape.softcap);
      if (factor == 1.0f) continue;
      for (int d = 0; d < padded_dim_; d += kLanes) {
        float* o = output_.data() + (size_t(d / kLanes) * rows_ + r) * kLanes;
        store(o, load(o) * splat(factor));
      }
    }
  }

  Vec score_at(int row, int panel) const {
    return scaled(load(scores_.data() + (size_t(panel) * rows_ + row) * kLanes), key_scales_, panel);
  }

  // Scores of a panel's keys, or weights of its values, times the scales of these.
  static Vec scaled(Vec products, const float* scales, int panel) {
    if constexpr (kScaled<Element>) return products * load(scales + panel * kLanes);
    else return products;
  }

  // Fast path of a tile whose keys are all visible.
  float exp_full_tile(int row) {
    Vec weights[kKeyTile / kLanes];
    for (int p = 0; p < kKeyTile / kLanes; ++p) weights[p] = score_at(row, p);
    float factor = softmax_[row].exp_weights(weights, bf16_);
    for (int p = 0; p < kKeyTile / kLanes; ++p) put_weights(row, p, scaled(weights[p], value_scales_, p));
    return factor;
  }

  float exp_partial_tile(int row, int panels, KeyRange part, float softcap) {
    alignas(64) float weights[kKeyTile];
    for (int p = 0; p < panels; ++p) store(weights + p * kLanes, score_at(row, p));
    cap_scores(weights, panels, softcap);
    float factor = softmax_[row].exp_weights(weights, panels, int(part.first), int(part.last));
    for (int p = 0; p < panels; ++p) put_weights(row, p, scaled(load(weights + p * kLanes), value_scales_, p));
    return factor;
  }

  void put_weights(int row, int panel, Vec weights) {
    size_t at = size_t(row) * kKeyTile + panel * kLanes;
    if (bf16_) put_lanes(bf16_weights_.data() + at, weights);
    else store(weights_.data() + at, weights);
  }

  void add_values(int count) {
    if (bf16_) return add_pairs(count);
    Panels panels{reinterpret_cast<const uint8_t*>(values_.data()),
                  size_t(kKeyTile) * kLanes * sizeof(float), round_up(count, 4), padded_dim_ / kLanes};
    multiply_float(kFloat32, float_rows(weights_.data(), kKeyTile), rows_, panels, output_.data(), false);
  }

  // bf16 products take 32 keys at a time; missing ones get weight 0.
  void add_pairs(int count) {
    const Packed* none[kLanes] = {};
    int written = round_up(count, kLanes), keys = round_up(count, 2 * kLanes);
    if (written < keys) pack_value_pairs(none, written);
    for (int r = 0; r < rows_ && written < keys; ++r) put_weights(r, written / kLanes, zero());
    Panels panels{reinterpret_cast<const uint8_t*>(pairs_.data()), size_t(kKeyTile) * kLanes * sizeof(Packed),
                  keys, padded_dim_ / kLanes};
    multiply_bf16(bf16_rows(bf16_weights_.data(), kKeyTile), rows_, panels, output_.data(), false);
  }

  int rows_ = 0, dim_ = 0, padded_dim_ = 0, group_ = 1, kv_head_ = 0;
  size_t width_ = 0;  // elements from a head to the next one
  std::vector<KeyRange> ranges_;
  std::vector<RunningSoftmax> softmax_;
  Buffer<float> query_, values_, scores_, weights_, output_;
  bool bf16_ = false;
  Buffer<Packed> keys_, pairs_, codes_;
  alignas(64) float key_scales_[kKeyTile] = {}, value_scales_[kKeyTile] = {};
  Buffer<uint16_t> bf16_query_, bf16_weights_;
};

}  // namespace octavo
