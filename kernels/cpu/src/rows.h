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
    if (kinds != kRowNarrow) values_.reserve(rows * stride_);
    if (kinds & kRowNarrow) narrow_.reserve(rows * stride_);
    if (kinds & kRowSteps) {
      steps_.reserve(size_t(rows) * padded_k_);
      groups_.reserve(size_t(rows) * (padded_k_ / kGroup));
    }
  }
  // If they are wanted in floats, or in several kinds.
  float* row(int i) const { return values_.data() + i * stride_; }

  // Whether all is as it is wanted once it is written, so that nothing is left to convert.
  bool direct() const { return kinds_ == kRowFloat || kinds_ == kRowNarrow; }
  // Whether it is written in bf16.
  bool narrow() const { return kinds_ == kRowNarrow; }

  // write(where), to floats or to bf16, gets a whole row.
  template <class Write>
  void fill(int i, const Write& write) const {
    if (narrow()) return write(narrow_row(i));
    write(row(i));
    convert(i);
  }

  // Some values of a row; sixteen of them.
  void put(int i, int column, const float* values, int count) const {
    if (narrow()) put_all(narrow_row(i) + column, values, count);
    else put_all(row(i) + column, values, count);
  }
  void put(int i, int column, Vec values) const {
    if (narrow()) put_lanes(narrow_row(i) + column, values);
    else put_lanes(row(i) + column, values);
  }

  // What was put there before it was converted.
  void move(int from, int to) const {
    if (narrow()) std::memmove(narrow_row(to), narrow_row(from), sizeof(uint16_t) * padded_k_);
    else std::memmove(row(to), row(from), sizeof(float) * padded_k_);
  }

  // After all values of a row were put, unless `direct`.
  void convert(int i) const {
    if (kinds_ & kRowNarrow) {
      put_all(narrow_row(i), row(i), padded_k_);
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
  uint16_t* narrow_row(int i) const { return narrow_.data() + i * stride_; }

  int kinds_ = kRowFloat;
  int padded_k_ = 0;
  size_t rows_ = 0, stride_ = 0;
  Buffer<float> values_;
  Buffer<uint16_t> narrow_;
  Buffer<int8_t> steps_;
  Buffer<RowGroup> groups_;
};

}  // namespace octavo
