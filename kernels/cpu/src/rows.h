// Rows of activations: room for them, and turning them into what a weight is multiplied with.
#pragma once

#include <cstdlib>
#include <new>

#include "weight.h"

namespace octavo {

// Memory that grows and begins as zeros, on whole cache lines.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // What was written before is lost if it must grow.
  T* reserve(size_t count) {
    if (count > count_) {
      std::free(data_);
      size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (data_ == nullptr) {
        count_ = 0;
        throw std::bad_alloc();
      }
      std::memset(static_cast<void*>(data_), 0, bytes);
      count_ = count;
    }
    return data_;
  }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  size_t count_ = 0;
};

// x: padded_k values -> steps, and what belongs to each 64 of them.
inline void quantize_row(const float* x, int padded_k, int8_t* steps, RowGroup* groups, size_t stride) {
  for (int g = 0; g < padded_k / kGroup; ++g) {
    const float* group = x + g * kGroup;
    Vec v[kGroup / kLanes], top = zero();
    for (int i = 0; i < kGroup / kLanes; ++i) {
      v[i] = load(group + i * kLanes);
      top = max(top, abs(v[i]));
    }
    float most = largest(top);
    // Of what is smaller the inverse would be infinite.
    Vec inverse = splat(most > 1e-30f ? 127.0f / most : 0.0f), total = zero();
    for (int i = 0; i < kGroup / kLanes; ++i) {
      Vec q = round(v[i] * inverse);
      total = total + q;
      store_int8(steps + g * kGroup + i * kLanes, q);
    }
    float whole = sum(total);
    bool finite = whole == whole;  // not-a-number, or what is infinite, makes the outputs not-a-number
    float scale = finite ? most / 127.0f : whole;
    groups[g * stride] = {scale, scale * whole, finite ? int32_t(whole) : 0};
  }
}

// Rows of k values, padded with zeros, and the same in the kinds that the weights want.
class RowBuffer {
 public:
  void reserve(int rows, int k, int kinds) {
    kinds_ = kinds;
    rows_ = rows;
    padded_k_ = round_up(k, kGroup);
    stride_ = padded_k_ + kLanes;  // a power of two would put all rows in the same cache sets
    values_.reserve(rows * stride_);
    if (kinds & kRowNarrow) narrow_.reserve(rows * stride_);
    if (kinds & kRowSteps) {
      steps_.reserve(size_t(rows) * padded_k_);
      groups_.reserve(size_t(rows) * (padded_k_ / kGroup));
    }
  }
  float* row(int i) const { return values_.data() + i * stride_; }
  size_t stride() const { return stride_; }
  bool converts() const { return (kinds_ & ~kRowFloat) != 0; }

  // Whether all is written by `put`, so that nothing is left to convert.
  bool direct() const { return kinds_ == kRowFloat || kinds_ == kRowNarrow; }

  // Sixteen values of a row, as they are wanted if `direct`.
  void put(int i, int column, Vec values) const {
    if (kinds_ == kRowNarrow) store_bf16(narrow_.data() + i * stride_ + column, values);
    else store(row(i) + column, values);
  }

  // After a row's values were written.
  void convert(int i) const {
    if (kinds_ & kRowNarrow) {
      uint16_t* out = narrow_.data() + i * stride_;
      put_all(out, row(i), padded_k_);
    }
    if (kinds_ & kRowSteps) {
      quantize_row(row(i), padded_k_, steps_.data() + size_t(i) * padded_k_, groups_.data() + i, rows_);
    }
  }
  Rows rows() const {
    return {values_.data(), stride_, narrow_.data(), stride_, steps_.data(), size_t(padded_k_),
            groups_.data(), rows_};
  }

 private:
  int kinds_ = kRowFloat;
  int padded_k_ = 0;
  size_t rows_ = 0, stride_ = 0;
  Buffer<float> values_;
  Buffer<uint16_t> narrow_;
  Buffer<int8_t> steps_;
  Buffer<RowGroup> groups_;
};

}  // namespace octavo
