// Attention of a ragged batch over the paged cache (Kwon et al., 2023, arXiv:2309.06180), with
// softmax in one pass over tiles of keys (Dao et al., 2022, arXiv:2205.14135).
//
// The keys of a tile are transposed, and its values laid out, as panels of a weight, so that both
// products are those of a linear layer; a few rows are multiplied with what lies in the cache.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "direct_attention.h"
#include "matmul.h"
#include "rows.h"
#include "team.h"

namespace octavo {

constexpr int kKeyTile = 64;
constexpr int kQueryRows = 96;

// Passed from Python; see kernels.ops.AttentionMetadata.
struct Batch {
  int32_t num_tokens, num_seqs;
  const int64_t* query_start_loc;
  const int64_t* seq_lens;
  const int64_t* block_table;
  const int64_t* slot_mapping;
  const int64_t* bidirectional;  // or null
  int64_t max_blocks;
  int32_t block_size;
  int32_t narrow_cache;  // keys and values are bf16
};

struct AttentionShape {
  int32_t heads, kv_heads, head_dim;
  float scale, softcap;
  int32_t window;
  int32_t row_stride;  // elements from one position's keys to the next one's
  int32_t narrow;      // queries and weights may be rounded to bf16

  int group() const { return heads / kv_heads; }
};

// Some tokens of one sequence against some of its keys, for the query heads of some key heads.
struct AttentionTask {
  int32_t seq, kv_head, kv_heads, token, tokens;
  int64_t key_start, key_end;
  int32_t part;  // where its first head's share goes, or -1 if it sees all keys
};

// The shares that make up the output of one token's query heads.
struct Merge {
  int32_t kv_head, token, first_part, parts;  // a part of each key head in turn
};

struct AttentionPlan {
  std::vector<AttentionTask> tasks;
  std::vector<Merge> merges;
  int parts = 0;

  void build(const Batch& batch, const AttentionShape& shape, int threads);
};

// Last tokens of a prompt come first, as they take longest. A decode takes all heads at once, so
// that the cache is read in order; few decodes are split over their keys, so that every thread has
// some.
inline void AttentionPlan::build(const Batch& batch, const AttentionShape& shape, int threads) {
  tasks.clear();
  merges.clear();
  parts = 0;
  int tile = shape.group() < kQueryRows ? kQueryRows / shape.group() : 1;
  int64_t splits = (2 * threads + batch.num_seqs - 1) / batch.num_seqs;
  for (int seq = 0; seq < batch.num_seqs; ++seq) {
    int start = int(batch.query_start_loc[seq]), end = int(batch.query_start_loc[seq + 1]);
    int64_t keys = batch.seq_lens[seq];
    if (end - start == 1 && (splits == 1 || keys <= kKeyTile)) {
      tasks.push_back({seq, 0, shape.kv_heads, start, 1, 0, keys, -1});
    } else if (end - start == 1) {
      int64_t size = round_up(int((keys + splits - 1) / splits), kLanes);
      int first = parts;
      for (int64_t key = 0; key < keys; key += size, parts += shape.kv_heads)
        tasks.push_back({seq, 0, shape.kv_heads, start, 1, key, key + size < keys ? key + size : keys, parts});
      for (int head = 0; head < shape.kv_heads; ++head)
        merges.push_back({head, start, first + head, (parts - first) / shape.kv_heads});
    } else {
      for (int head = 0; head < shape.kv_heads; ++head)
        for (int token = end; token > start; token -= tile) {
          int first = token - tile > start ? token - tile : start;
          tasks.push_back({seq, head, 1, first, token - first, 0, keys, -1});
        }
    }
  }
}

inline void transpose_plain(const uint32_t* const* rows, int keys, int from, int width, uint32_t* out) {
  for (int e = from; e < width; ++e)
    for (int key = 0; key < kLanes; ++key) out[e * kLanes + key] = key < keys ? rows[key][e] : 0;
}

// Rows of `width` words of sixteen keys -> [width][16]; what is beyond `keys` becomes zero.
inline void transpose(const uint32_t* const* rows, int keys, int width, uint32_t* out) {
#if defined(__AVX2__)
  int whole = width / 8 * 8;
  for (int half = 0; half < 2; ++half) {
    for (int e = 0; e < whole; e += 8) {
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
  transpose_plain(rows, keys, whole, width, out);
#else
  transpose_plain(rows, keys, 0, width, out);
#endif
}

// The queries of one key head in a task. Element is float or uint16_t (bf16).
template <class Element>
class HeadAttention {
 public:
  // The keys from first_key to last_key are seen by some token.
  int64_t first_key() const { return first_key_; }
  int64_t last_key() const { return last_key_; }

  template <class Query>
  void begin(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
             int kv_head, const Query* query, size_t stride) {
    int group = shape.group();
    rows_ = task.tokens * group;
    dim_ = shape.head_dim;
    direct_ = rows_ <= kDirectRows && dim_ % kLanes == 0;
    narrow_ = !direct_ && !kWide && kNarrowProducts && shape.narrow;
    padded_dim_ = round_up(dim_, narrow_ ? 2 * kLanes : kLanes);
    width_ = shape.row_stride;
    query_.reserve(size_t(rows_) * padded_dim_);
    if (!direct_) {
      keys_.reserve(size_t(kKeyTile) * padded_dim_);
      values_.reserve(size_t(kKeyTile) * padded_dim_);
    }
    scores_.reserve(size_t(rows_) * kKeyTile);
    weights_.reserve(size_t(rows_) * kKeyTile);
    output_.reserve(size_t(rows_) * padded_dim_);
    most_.assign(rows_, -std::numeric_limits<float>::infinity());
    total_.assign(rows_, 0.0f);
    from_.resize(task.tokens);
    to_.resize(task.tokens);
    std::memset(output_.data(), 0, sizeof(float) * rows_ * padded_dim_);
    group_ = group;
    kv_head_ = kv_head;

    int64_t end = batch.query_start_loc[task.seq + 1], context = batch.seq_lens[task.seq];
    first_key_ = context;
    last_key_ = 0;
    for (int t = 0; t < task.tokens; ++t) {
      int64_t row = task.token + t, position = context - end + row;
      int64_t first = shape.window && position >= shape.window ? position - shape.window + 1 : 0;
      int64_t last = position + 1;
      if (batch.bidirectional) {
        const int64_t* run = batch.bidirectional + 2 * row;
        first = run[0] < first ? run[0] : first;
        last = run[1] > last ? run[1] : last;
      }
      from_[t] = first > task.key_start ? first : task.key_start;
      to_[t] = last < task.key_end ? last : task.key_end;
      if (from_[t] < first_key_) first_key_ = from_[t];
      if (to_[t] > last_key_) last_key_ = to_[t];
      for (int g = 0; g < group; ++g) {
        const Query* source = query + row * stride + size_t(kv_head * group + g) * dim_;
        float* q = query_.data() + size_t(t * group + g) * padded_dim_;
        for (int d = 0; d < dim_; ++d) q[d] = to_float(source[d]) * shape.scale;
        for (int d = dim_; d < padded_dim_; ++d) q[d] = 0;
      }
    }
    if (!narrow_) return;
    size_t queries = size_t(rows_) * padded_dim_;
    put_all(narrow_query_.reserve(queries), query_.data(), queries);
    narrow_weights_.reserve(size_t(rows_) * kKeyTile);
    pairs_.reserve(size_t(kKeyTile) * padded_dim_);
  }

  // Up to sixteen keys and values of a tile -> one panel of keys, and rows of the values' panels.
  // slots: where they lie in the cache.
  void gather(const int64_t* slots, int count, int panel, const Element* keys, const Element* values) {
    const Element **key_rows = key_rows_ + panel * kLanes, **value_rows = value_rows_ + panel * kLanes;
    for (int i = 0; i < kLanes; ++i) {
      size_t at = i < count ? size_t(slots[i]) * width_ + size_t(kv_head_) * dim_ : 0;
      key_rows[i] = i < count ? keys + at : nullptr;
      value_rows[i] = i < count ? values + at : nullptr;
    }
    if (direct_) return;
    if (narrow_) lay_pairs(value_rows, panel * kLanes);
    else for (int i = 0; i < round_up(count, 4); ++i) lay_value(value_rows[i], panel * kLanes + i);
    int words = kWide ? dim_ : dim_ / 2, padded_words = kWide ? padded_dim_ : padded_dim_ / 2;
    uint32_t* out = reinterpret_cast<uint32_t*>(keys_.data()) + size_t(panel) * padded_words * kLanes;
    transpose(reinterpret_cast<const uint32_t* const*>(key_rows), count, words, out);
    std::memset(out + size_t(words) * kLanes, 0, sizeof(uint32_t) * (padded_words - words) * kLanes);
  }

  // After all panels of a tile of keys were gathered.
  void add_tile(const AttentionShape& shape, int64_t from, int count) {
    score(count);
    weigh(shape, from, count);
    add_values(count);
  }

  // All keys were seen: out[token][head] = the weighted mean of values.
  void finish(const AttentionTask& task, float* out, size_t stride) const {
    for (int r = 0; r < rows_; ++r) {
      int t = r / group_, head = kv_head_ * group_ + r % group_;
      float* to = out + (task.token + t) * stride + size_t(head) * dim_;
      float scale = 1.0f / total_[r];
      for (int d = 0; d < dim_; ++d) to[d] = output_at(r, d) * scale;
    }
  }

  // part: for each row the largest score, the sum of weights, the weighted sum of values.
  void write_part(float* part) const {
    for (int r = 0; r < rows_; ++r, part += dim_ + 2) {
      part[0] = most_[r];
      part[1] = total_[r];
      for (int d = 0; d < dim_; ++d) part[2 + d] = output_at(r, d);
    }
  }
 private:
  static constexpr bool kWide = sizeof(Element) == 4;
  static constexpr int kPanels = kKeyTile / kLanes;

  // Values of sixteen keys, or zeros, side by side in pairs: panels [padded_dim / 16][32][16][2].
  void lay_pairs(const Element* const* rows, int first) {
    for (int i = 0; i < kLanes; i += 2) {
      const Element *even = rows[i], *odd = rows[i + 1];
      for (int d = 0; d < padded_dim_; d += kLanes) {
        Element* out = pairs_.data() + size_t(d) * kKeyTile + size_t(first + i) * kLanes;
        if (odd != nullptr && d + kLanes <= dim_) {
          for (int c = 0; c < kLanes; ++c) {
            out[2 * c] = even[d + c];
            out[2 * c + 1] = odd[d + c];
          }
          continue;
        }
        for (int c = 0; c < kLanes; ++c) {
          bool within = d + c < dim_;
          out[2 * c] = within && even != nullptr ? even[d + c] : Element(0);
          out[2 * c + 1] = within && odd != nullptr ? odd[d + c] : Element(0);
        }
      }
    }
  }

  // One key's value, or zeros, into row `i` of the panels of values: [padded_dim / 16][64][16].
  void lay_value(const Element* value, int i) {
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

  static Rows rows_in(const float* values, size_t stride) {
    return {values, stride, nullptr, 0, nullptr, 0, nullptr, nullptr, 0};
  }

  static Rows narrow_rows(const uint16_t* values, size_t stride) {
    return {nullptr, 0, values, stride, nullptr, 0, nullptr, nullptr, 0};
  }

  void score(int count) {
    if (direct_)
      return in_row_blocks(rows_, [&](int row, auto block) {
        score_directly<Element, block>(query_.data() + row * padded_dim_, padded_dim_, key_rows_, count, dim_,
                                       scores_.data() + row * kLanes, rows_);
      });
    Panels panels{reinterpret_cast<const uint8_t*>(keys_.data()),
                  size_t(padded_dim_) * kLanes * sizeof(Element), padded_dim_,
                  (count + kLanes - 1) / kLanes};
    if (narrow_)
      return multiply_narrow(narrow_rows(narrow_query_.data(), padded_dim_), rows_, panels, scores_.data(), true);
    Rows rows = rows_in(query_.data(), padded_dim_);
    multiply_float(kWide ? kFloat32 : kBFloat16, rows, rows_, panels, scores_.data(), true);
  }

  // Scores of a tile -> weights relative to the largest score so far.
  void weigh(const AttentionShape& shape, int64_t from, int count) {
    constexpr float kHidden = -std::numeric_limits<float>::infinity();
    int panels = (count + kLanes - 1) / kLanes;
    for (int r = 0; r < rows_; ++r) {
      int t = r / group_;
      int low = int(from_[t] > from ? (from_[t] - from < count ? from_[t] - from : count) : 0);
      int high = int(to_[t] - from < count ? (to_[t] > from ? to_[t] - from : 0) : count);
      float* row = weights_.data() + size_t(r) * kKeyTile;
      Vec top = splat(kHidden);
      bool partial = low > 0 || high < panels * kLanes;
      for (int p = 0; p < panels; ++p) {
        Vec s = load(scores_.data() + (size_t(p) * rows_ + r) * kLanes);
        if (shape.softcap > 0) s = tanh(s / splat(shape.softcap)) * splat(shape.softcap);
        store(row + p * kLanes, s);
        if (!partial) top = max(top, s);
      }
      if (partial) {
        for (int c = 0; c < panels * kLanes; ++c)
          if (c < low || c >= high) row[c] = kHidden;
        for (int p = 0; p < panels; ++p) top = max(top, load(row + p * kLanes));
      }
      float most = largest(top);
      most = most > most_[r] ? most : most_[r];
      if (most == kHidden) {  // nothing seen yet
        for (int p = 0; p < panels; ++p) store(row + p * kLanes, zero());
        continue;
      }
      Vec sums = zero(), limit = splat(most);
      for (int p = 0; p < panels; ++p) {
        Vec e = exp(load(row + p * kLanes) - limit);
        store(row + p * kLanes, e);
        if (!partial) sums = sums + e;
      }
      if (partial) {
        for (int c = 0; c < panels * kLanes; ++c)
          if (c < low || c >= high) row[c] = 0;
        for (int p = 0; p < panels; ++p) sums = sums + load(row + p * kLanes);
      }
      if (most != most_[r]) {
        float factor = most_[r] == kHidden ? 0.0f : std::exp(most_[r] - most);
        total_[r] *= factor;
        for (int d = 0; d < padded_dim_; d += kLanes) {
          float* o = output_.data() + (size_t(d / kLanes) * rows_ + r) * kLanes;
          store(o, load(o) * splat(factor));
        }
        most_[r] = most;
      }
      total_[r] += sum(sums);
    }
  }

  void add_values(int count) {
    if (direct_)
      return in_row_blocks(rows_, [&](int row, auto block) {
        add_directly<Element, block>(weights_.data() + row * kKeyTile, kKeyTile, value_rows_, count, dim_,
                                     output_.data() + row * kLanes, rows_);
      });
    if (narrow_) return add_pairs(count);
    Panels panels{reinterpret_cast<const uint8_t*>(values_.data()),
                  size_t(kKeyTile) * kLanes * sizeof(float), round_up(count, 4), padded_dim_ / kLanes};
    multiply_float(kFloat32, rows_in(weights_.data(), kKeyTile), rows_, panels, output_.data(), false);
  }

  // The product takes 32 keys at a time; those that no panel brought weigh nothing.
  void add_pairs(int count) {
    const Element* none[kLanes] = {};
    int written = round_up(count, kLanes), keys = round_up(count, 2 * kLanes);
    if (written < keys) lay_pairs(none, written);
    for (int r = 0; r < rows_; ++r) {
      uint16_t* to = narrow_weights_.data() + size_t(r) * kKeyTile;
      put_all(to, weights_.data() + size_t(r) * kKeyTile, written);
      std::memset(to + written, 0, sizeof(uint16_t) * (keys - written));
    }
    Panels panels{reinterpret_cast<const uint8_t*>(pairs_.data()), size_t(kKeyTile) * kLanes * sizeof(Element),
                  keys, padded_dim_ / kLanes};
    multiply_narrow(narrow_rows(narrow_weights_.data(), kKeyTile), rows_, panels, output_.data(), false);
  }

  float output_at(int r, int d) const {
    return output_.data()[(size_t(d / kLanes) * rows_ + r) * kLanes + d % kLanes];
  }

  int rows_ = 0, dim_ = 0, padded_dim_ = 0, group_ = 1, kv_head_ = 0;
  size_t width_ = 0;
  int64_t first_key_ = 0, last_key_ = 0;
  std::vector<int64_t> from_, to_;
  std::vector<float> most_, total_;
  Buffer<float> query_, values_, scores_, weights_, output_;
  bool direct_ = false, narrow_ = false;
  const Element *key_rows_[kKeyTile], *value_rows_[kKeyTile];
  Buffer<Element> keys_, pairs_;
  Buffer<uint16_t> narrow_query_, narrow_weights_;
};

// What one thread needs for its tasks.
template <class Element>
class Attention {
 public:
  template <class Query>
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Query* query,
           size_t query_stride, const Element* keys, const Element* values, float* out, size_t out_stride,
           float* parts) {
    if (int(heads_.size()) < task.kv_heads) heads_ = std::vector<HeadAttention<Element>>(task.kv_heads);
    for (int h = 0; h < task.kv_heads; ++h)
      heads_[h].begin(batch, shape, task, task.kv_head + h, query, query_stride);
    int64_t first = heads_[0].first_key(), last = heads_[0].last_key();
    for (int64_t key = first; key < last; key += kKeyTile) {
      int64_t next = std::min(key + kKeyTile, last);
      gather(batch, task, key, int(next - key), keys, values);
      int64_t share = (std::min(next + kKeyTile, last) - next + task.kv_heads - 1) / task.kv_heads;
      for (int h = 0; h < task.kv_heads; ++h) {
        prefetch_keys(batch, shape, task, next + h * share, std::min(next + (h + 1) * share, last), keys, values);
        heads_[h].add_tile(shape, key, int(next - key));
      }
    }
    for (int h = 0; h < task.kv_heads; ++h) {
      if (task.part < 0) heads_[h].finish(task, out, out_stride);
      else heads_[h].write_part(parts + size_t(task.part + h) * shape.group() * (shape.head_dim + 2));
    }
  }

  // Before run: ask for the first tile of a decode's keys.
  static void prefetch_first(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                             const Element* keys, const Element* values) {
    if (task.tokens > 1) return;
    int64_t context = batch.seq_lens[task.seq];
    int64_t first = shape.window ? std::max(task.key_start, context - shape.window) : task.key_start;
    prefetch_keys(batch, shape, task, first, std::min(first + kKeyTile, task.key_end), keys, values);
  }

 private:
  static int64_t slot(const Batch& batch, const AttentionTask& task, int64_t position) {
    const int64_t* table = batch.block_table + task.seq * batch.max_blocks;
    return table[position / batch.block_size] * batch.block_size + position % batch.block_size;
  }

  // Ask for the keys and values of some positions, all heads: they lie together in the cache.
  static void prefetch_keys(const Batch& batch, const AttentionShape& shape, const AttentionTask& task,
                            int64_t from, int64_t to, const Element* keys, const Element* values) {
    size_t bytes = size_t(task.kv_heads) * shape.head_dim * sizeof(Element);
    for (int64_t position = from; position < to; ++position) {
      size_t at = size_t(slot(batch, task, position)) * shape.row_stride + size_t(task.kv_head) * shape.head_dim;
      prefetch(keys + at, bytes);
      prefetch(values + at, bytes);
    }
  }

  // All heads of a few positions at a time: they lie together in the cache.
  void gather(const Batch& batch, const AttentionTask& task, int64_t from, int count, const Element* keys,
              const Element* values) {
    for (int panel = 0; panel * kLanes < count; ++panel) {
      int present = count - panel * kLanes < kLanes ? count - panel * kLanes : kLanes;
      int64_t slots[kLanes];
      for (int i = 0; i < present; ++i) slots[i] = slot(batch, task, from + panel * kLanes + i);
      for (int h = 0; h < task.kv_heads; ++h) heads_[h].gather(slots, present, panel, keys, values);
    }
  }

  std::vector<HeadAttention<Element>> heads_;
};

// Put the shares of one token together.
inline void merge_parts(const Merge& merge, const AttentionShape& shape, const float* parts, float* out,
                        size_t out_stride) {
  int dim = shape.head_dim, group = shape.group();
  size_t width = dim + 2;
  for (int g = 0; g < group; ++g) {
    auto part = [&](int i) { return parts + (size_t(merge.first_part + i * shape.kv_heads) * group + g) * width; };
    float* to = out + merge.token * out_stride + size_t(merge.kv_head * group + g) * dim;
    float most = -std::numeric_limits<float>::infinity(), total = 0;
    for (int i = 0; i < merge.parts; ++i) most = part(i)[0] > most ? part(i)[0] : most;
    for (int d = 0; d < dim; ++d) to[d] = 0;
    for (int i = 0; i < merge.parts; ++i) {
      float factor = part(i)[1] > 0 ? std::exp(part(i)[0] - most) : 0.0f;
      total += part(i)[1] * factor;
      for (int d = 0; d < dim; ++d) to[d] += part(i)[2 + d] * factor;
    }
    for (int d = 0; d < dim; ++d) to[d] /= total;
  }
}

// All tasks of a plan, by a team; then its threads meet. out: rows of all query heads.
template <class Element, class Query>
void run_attention(Team& team, int thread, const AttentionPlan& plan, const Batch& batch, const AttentionShape& shape,
                   Attention<Element>& state, const Query* query, size_t query_stride, const Element* keys,
                   const Element* values, const RowBuffer& out, float* parts) {
  share_tasks(team, thread, plan.tasks.size(), [&](int64_t i) {
    state.run(batch, shape, plan.tasks[i], query, query_stride, keys, values, out.row(0), out.stride(), parts);
  });
  team.barrier();
  if (plan.merges.empty()) return;
  share_tasks(team, thread, plan.merges.size(),
              [&](int64_t i) { merge_parts(plan.merges[i], shape, parts, out.row(0), out.stride()); });
  team.barrier();
}

}  // namespace octavo
