// Attention of a few query rows, as in decoding: they are multiplied with keys and values where those
// lie in the cache, all heads of a position in turn, so that the cache is read in order.
#pragma once

#include <type_traits>

#include "attention_plan.h"
#include "dot.h"
#include "matmul.h"
#include "rows.h"
#include "softmax.h"

namespace octavo {

constexpr int kDirectRows = 8;
constexpr int kDirectTile = 256;          // keys whose weights are kept
constexpr int kPair = 2 * kLanes;         // elements that load_pair takes
constexpr int kAheadKeys = 2 * kLanes;    // how far ahead of their use keys are asked for
constexpr int kRowsAtOnce = kMaxRows / 2;  // as many as registers hold with two vectors each

// work(first row, number of rows as a constant) until all rows had their turn.
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

// scores[row][0..15] = queries[row] · keys[at[0..15]], for queries laid out as load_pair reads keys.
// What will be read next is asked for: keys at ahead[0..15], values at at[0..15].
template <class Element, int R>
void score_panel(const float* queries, int dim, const Element* keys, const Element* values, const size_t* at,
                 const size_t* ahead, float* scores, size_t stride) {
  constexpr int K = 4;  // keys at once, so that no sum waits for its own last addition
  alignas(64) float sums[R][kLanes][kDotWidth];
  for (int key = 0; key < kLanes; key += K) {
    Dot dots[K][R];
    for (int d = 0; d < dim; d += kPair) {
#pragma GCC unroll 4
      for (int i = 0; i < K; ++i) {
        Vec first, second;
        load_pair(keys + at[key + i] + d, first, second);
        __builtin_prefetch(keys + ahead[key + i] + d);
        __builtin_prefetch(values + at[key + i] + d);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          dots[i][r].add(load(queries + r * dim + d), first);
          dots[i][r].add(load(queries + r * dim + d + kLanes), second);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) dots[i][r].write(sums[r][key + i]);
  }
  for (int r = 0; r < R; ++r)
    for (int key = 0; key < kLanes; key += 8) sum_eight(sums[r][key], scores + r * stride + key);
}

// output[row][d] += the sum over sixteen keys of weights[row][key] * values[at[key]][d], in pairs.
template <class Element, int R>
void add_panel(const float* weights, size_t stride, const Element* values, const size_t* at, int dim, float* output) {
  for (int d = 0; d < dim; d += kPair) {
    Vec first[R], second[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      first[r] = load(output + r * dim + d);
      second[r] = load(output + r * dim + d + kLanes);
    }
    for (int key = 0; key < kLanes; ++key) {
      Vec a, b;
      load_pair(values + at[key] + d, a, b);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Vec weight = splat(weights[r * stride + key]);
        first[r] = fma(weight, a, first[r]);
        second[r] = fma(weight, b, second[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      store(output + r * dim + d, first[r]);
      store(output + r * dim + d + kLanes, second[r]);
    }
  }
}

// All key heads of a task at once. Element is float or uint16_t (bf16).
template <class Element>
class DirectAttention {
 public:
  static bool takes(const AttentionShape& shape, const AttentionTask& task) {
    return task.tokens * shape.group() <= kDirectRows && shape.head_dim % kPair == 0;
  }

  template <class Query>
  void run(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, const Query* query,
           size_t query_stride, const Element* keys, const Element* values) {
    begin(shape, task, query, query_stride);
    KeyRange seen = find_keys(batch, shape, task, ranges_);
    locate(batch, shape, task, seen);
    for (int64_t key = seen.first; key < seen.last; key += kDirectTile) {
      int count = int(std::min<int64_t>(kDirectTile, seen.last - key));
      const size_t* at = places_.data() + (key - seen.first);
      for (int i = 0; i < count; i += kLanes) score(keys, values, at + i, i);
      weigh(shape, key, count);
      for (int i = 0; i < count; i += kLanes) add(values, at + i, i);
    }
  }

  // Rows of each head in turn.
  const RunningSoftmax& softmax(int row) const { return softmax_[row]; }
  // The sum of values, weighted as softmax(row) says.
  float output(int row, int d) const { return output_.data()[size_t(row) * dim_ + paired(d)]; }

 private:
  // Where load_pair puts an element.
  static int paired(int d) {
    if (sizeof(Element) == 4) return d;
    return d / kPair * kPair + d % 2 * kLanes + d % kPair / 2;
  }

  template <class Query>
  void begin(const AttentionShape& shape, const AttentionTask& task, const Query* query, size_t stride) {
    int group = shape.group();
    heads_ = task.kv_heads;
    rows_ = task.tokens * group;
    dim_ = shape.head_dim;
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
        float* to = query_.data() + (size_t(h) * rows_ + r) * dim_;
        for (int d = 0; d < dim_; ++d) to[paired(d)] = to_float(from[d]) * shape.scale;
      }
  }

  // The elements that the keys begin at. The last one is repeated: panels are read whole, and ahead.
  void locate(const Batch& batch, const AttentionShape& shape, const AttentionTask& task, KeyRange seen) {
    int64_t count = std::max<int64_t>(seen.last - seen.first, 0);
    places_.resize(count + kLanes + kAheadKeys);
    SlotCursor slots(batch, task.seq, seen.first);
    size_t place = 0;
    for (int64_t i = 0; i < int64_t(places_.size()); ++i) {
      if (i < count) place = size_t(slots.next()) * shape.row_stride + size_t(task.kv_head) * dim_;
      places_[i] = place;
    }
  }

  void score(const Element* keys, const Element* values, const size_t* at, int panel) {
    for (int h = 0; h < heads_; ++h)
      in_row_blocks(rows_, [&](int row, auto rows) {
        size_t r = size_t(h) * rows_ + row, offset = size_t(h) * dim_;
        score_panel<Element, rows>(query_.data() + r * dim_, dim_, keys + offset, values + offset, at,
                                   at + kAheadKeys, scores_.data() + r * kDirectTile + panel, kDirectTile);
      });
  }

  // Scores -> weights, in place.
  void weigh(const AttentionShape& shape, int64_t from, int count) {
    int panels = (count + kLanes - 1) / kLanes;
    for (int r = 0; r < heads_ * rows_; ++r) {
      float* row = scores_.data() + size_t(r) * kDirectTile;
      cap_scores(row, panels, shape.softcap);
      KeyRange part = within(ranges_[r % rows_ / shape.group()], from, count);
      float factor = softmax_[r].weigh(row, panels, int(part.first), int(part.last));
      if (factor == 1.0f) continue;
      for (int d = 0; d < dim_; d += kLanes) {
        float* o = output_.data() + size_t(r) * dim_ + d;
        store(o, load(o) * splat(factor));
      }
    }
  }

  void add(const Element* values, const size_t* at, int panel) {
    for (int h = 0; h < heads_; ++h)
      in_row_blocks(rows_, [&](int row, auto rows) {
        size_t r = size_t(h) * rows_ + row;
        add_panel<Element, rows>(scores_.data() + r * kDirectTile + panel, kDirectTile, values + size_t(h) * dim_,
                                 at, dim_, output_.data() + r * dim_);
      });
  }

  int heads_ = 0, rows_ = 0, dim_ = 0;
  std::vector<KeyRange> ranges_;
  std::vector<RunningSoftmax> softmax_;
  std::vector<size_t> places_;
  Buffer<float> query_, scores_, output_;
};

}  // namespace octavo
