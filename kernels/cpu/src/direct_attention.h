// Attention of a few query rows, as in decoding: keys and values are read in place, all heads of a
// position in turn, so that the cache is read in order.
#pragma once

#include <type_traits>

#include "attention_plan.h"
#include "matmul.h"
#include "register.h"
#include "rows.h"
#include "softmax.h"

namespace octavo {

constexpr int kMaxDirectRows = 8;
// Keys per tile. Prefetch values while scoring keys, next keys while accumulating, so that memory is
// always being read.
constexpr int kDirectTile = 64;
constexpr int kRowsAtOnce = kMaxRows / 2;  // rows that registers hold with two vectors each

// work(first row, number of rows as a constant) for blocks of kRowsAtOnce, then the remainder.
template <class Work>
void in_row_blocks(int rows, const Work& work) {
  int row = 0;
  for (; row + kRowsAtOnce <= rows; row += kRowsAtOnce) work(row, std::integral_constant<int, kRowsAtOnce>());
  switch (rows - row) {
    case 5: return work(row, std::integral_constant<int, 5>());
    case 4: return work(row, std::integral_constant<int, 4>());
    case 3: return work(row, std::integral_constant<int, 3>());
    case 2: return work(row, std::integral_constant<int, 2>());
    case 1: return work(row, std::integral_constant<int, 1>());
    default: return;
  }
}

// scores[row][0..15] = queries[row] · keys[at[0..15]], for queries split in pairs. Prefetches the values
// at at[0..15].
template <class Element, int R>
void score_panel(const float* queries, int dim, const Element* keys, const Element* values, const size_t* at,
                 float* scores, size_t stride) {
  constexpr int K = 4;  // keys at once: all sums and one vector of each query are in registers
  for (int key = 0; key < kLanes; key += K) {
    Register sums[R][K], query[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int i = 0; i < K; ++i) sums[r][i] = register_of(0.0f);
    for (int d = 0; d < dim; d += kPair) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) query[r] = load_register(queries + r * dim + d);
#pragma GCC unroll 4
      for (int i = 0; i < K; ++i) {
        Register first = load_first_register(keys + at[key + i] + d);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[r][i] = fma(query[r], first, sums[r][i]);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) query[r] = load_register(queries + r * dim + d + kRegister);
#pragma GCC unroll 4
      for (int i = 0; i < K; ++i) {
        Register second = load_second_register(keys + at[key + i] + d);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[r][i] = fma(query[r], second, sums[r][i]);
      }
    }
    for (int i = 0; i < K; ++i) prefetch(values + at[key + i], dim * sizeof(Element));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store_sums(scores + r * stride + key, sums[r]);
  }
}

// Compiler barrier: forces a reload rather than keeping a value in a register that the sums need.
inline void forget_reads() { asm volatile("" ::: "memory"); }

// output[row] += Σ weights[row][key] * values[at[key]] over sixteen keys, split in pairs; D registers of
// each row at a time. Prefetches as much of keys[next[0..15]].
template <class Element, int R, int D>
void add_part(const float* weights, size_t stride, const Element* values, const size_t* at, const Element* keys,
              const size_t* next, int dim, float* output) {
  Register sums[R][D];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < D; ++i) sums[r][i] = load_register(output + r * dim + i * kRegister);
  for (int key = 0; key < kLanes; ++key) {
    Register weight[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) weight[r] = register_of(weights[r * stride + key]);
    prefetch(keys + next[key], D * kRegister * sizeof(Element));
#pragma GCC unroll 2
    for (int i = 0; i < D; i += 2) {
      Register first = load_first_register(values + at[key] + i * kRegister);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][i] = fma(weight[r], first, sums[r][i]);
      forget_reads();
      Register second = load_second_register(values + at[key] + i * kRegister);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][i + 1] = fma(weight[r], second, sums[r][i + 1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < D; ++i) store(output + r * dim + i * kRegister, sums[r][i]);
}

template <class Element, int R>
void add_panel(const float* weights, size_t stride, const Element* values, const size_t* at, const Element* keys,
               const size_t* next, int dim, float* output) {
  int d = 0;
  for (; d + 2 * kPair <= dim; d += 2 * kPair)
    add_part<Element, R, 4>(weights, stride, values + d, at, keys + d, next, dim, output + d);
  if (d < dim) add_part<Element, R, 2>(weights, stride, values + d, at, keys + d, next, dim, output + d);
}

// Attention of all key heads of a task at once. Element is one of the cache's.
template <class Element>
class DirectAttention {
 public:
  static bool takes(const AttentionShape& shape, const AttentionTask& task) {
    return task.tokens * shape.group() <= kMaxDirectRows && shape.head_dim % kPair == 0;
  }

  // Copy of a task's queries; begins its softmax.
  template <class Query>
  void begin(const AttentionShape& shape, const AttentionTask& task, const Query* query, size_t stride) {
    int group = shape.group();
    heads_ = task.kv_heads;
    rows_ = task.tokens * group;
    dim_ = shape.head_dim;
    width_ = head_width<Element>(dim_);
    size_t all = size_t(heads_) * rows_;
    query_.reserve(all * dim_);
    scores_.reserve(all * kDirectTile);
    output_.reserve(all * dim_);
    std::memset(output_.data(), 0, sizeof(float) * all * dim_);
    softmax_.assign(all, RunningSoftmax());
    for (int h = 0; h < heads_; ++h)
      for (int r = 0; r < rows_; ++r) {
        const Query* from = query + (task.token + r / group) * stride +
                            size_t((task.kv_head + h) * group + r % group) * dim_;
        split_pairs<Element>(from, dim_, shape.scale, query_.data() + (size_t(h) * rows_ + r) * dim_);
      }
  }

  // After `begin`.
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Element* keys,
           const Element* values) {
    KeyRange seen = find_keys(batch, shape, task, ranges_);
    find_offsets(batch, task, seen);
    for (int64_t i = 0; i < std::min<int64_t>(kDirectTile, seen.last - seen.first); ++i)
      prefetch(keys + offsets_[i], heads_ * width_ * sizeof(Element));
    for (int64_t key = seen.first; key < seen.last; key += kDirectTile) {
      int count = int(std::min<int64_t>(kDirectTile, seen.last - key));
      const size_t* at = offsets_.data() + (key - seen.first);
      for (int i = 0; i < count; i += kLanes) {
        score(keys, values, at + i, i);
        scale_panel(keys, at + i, i);
      }
      update_softmax(shape, key, count);
      for (int i = 0; i < count; i += kLanes) {
        scale_panel(values, at + i, i);
        add(keys, values, at + i, i);
      }
    }
  }

  // Row index: all rows of the first head, then of the next.
  const RunningSoftmax& softmax(int row) const { return softmax_[row]; }
  // Weighted sum of values, times `scale`.
  void write(int row, float scale, float* to) const {
    join_pairs<Element>(output_.data() + size_t(row) * dim_, dim_, scale, to);
  }

 private:
  // Offsets of the visible keys. The last one is repeated: panels are read whole, and keys are prefetched
  // a tile ahead.
  void find_offsets(const Batch& batch, const AttentionTask& task, KeyRange seen) {
    int64_t count = std::max<int64_t>(seen.last - seen.first, 0);
    offsets_.resize(count + kLanes + kDirectTile);
    OffsetCursor offsets(batch, task.seq, seen.first);
    size_t offset = 0;
    for (int64_t i = 0; i < int64_t(offsets_.size()); ++i) {
      if (i < count) offset = offsets.next() + task.kv_head * width_;
      offsets_[i] = offset;
    }
  }

  void score(const Element* keys, const Element* values, const size_t* at, int panel) {
    for (int h = 0; h < heads_; ++h)
      in_row_blocks(rows_, [&](int row, auto rows) {
        size_t r = size_t(h) * rows_ + row, offset = h * width_;
        score_panel<Element, rows>(query_.data() + r * dim_, dim_, keys + offset, values + offset, at,
                                   scores_.data() + r * kDirectTile + panel, kDirectTile);
      });
  }

  // Scores of keys' codes, or weights of values' codes, times the scales of these.
  void scale_panel(const Element* cache, const size_t* at, int panel) {
    if constexpr (!kScaled<Element>) return;
    for (int h = 0; h < heads_; ++h) {
      alignas(64) float scales[kLanes];
      for (int i = 0; i < kLanes; ++i) scales[i] = scale_of(cache + at[i] + h * width_, dim_);
      float* row = scores_.data() + size_t(h) * rows_ * kDirectTile + panel;
      for (int r = 0; r < rows_; ++r, row += kDirectTile) store(row, load(row) * load(scales));
    }
  }

  // Online softmax of a tile, scores -> weights in place; rescales the output so far.
  void update_softmax(const AttentionShape& shape, int64_t from, int count) {
    int panels = (count + kLanes - 1) / kLanes;
    for (int r = 0; r < heads_ * rows_; ++r) {
      float* row = scores_.data() + size_t(r) * kDirectTile;
      cap_scores(row, panels, shape.softcap);
      KeyRange part = within(ranges_[r % rows_ / shape.group()], from, count);
      float factor = softmax_[r].exp_weights(row, panels, int(part.first), int(part.last));
      if (factor == 1.0f) continue;
      for (int d = 0; d < dim_; d += kLanes) {
        float* o = output_.data() + size_t(r) * dim_ + d;
        store(o, load(o) * splat(factor));
      }
    }
  }

  void add(const Element* keys, const Element* values, const size_t* at, int panel) {
    for (int h = 0; h < heads_; ++h)
      in_row_blocks(rows_, [&](int row, auto rows) {
        size_t r = size_t(h) * rows_ + row, offset = h * width_;
        add_panel<Element, rows>(scores_.data() + r * kDirectTile + panel, kDirectTile, values + offset, at,
                                 keys + offset, at + kDirectTile, dim_, output_.data() + r * dim_);
      });
  }

  int heads_ = 0, rows_ = 0, dim_ = 0;
  size_t width_ = 0;  // elements from a head to the next one
  std::vector<KeyRange> ranges_;
  std::vector<RunningSoftmax> softmax_;
  std::vector<size_t> offsets_;
  Buffer<float> query_, scores_, output_;
};

}  // namespace octavo
