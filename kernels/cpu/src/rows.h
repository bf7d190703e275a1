// Activation rows: their buffers, and their conversion to the formats that weights are multiplied with.
#pragma once

#include <cstdlib>
#include <new>

#include "weight.h"

namespace octavo {

// Growing buffer, zero-initialised and aligned to cache lines.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Contents are lost if the buffer must grow.
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

// x: padded_k values -> q8, and the RowGroup of each block of them.
inline void quantize_row(const float* x, int padded_k, int8_t* q8, RowGroup* groups, size_t stride) {
  for (int g = 0; g < padded_k / kGroup; ++g) {
    const float* group = x + g * kGroup;
    Vec v[kGroup / kLanes], tops = zero();
    for (int i = 0; i < kGroup / kLanes; ++i) {
      v[i] = load(group + i * kLanes);
      tops = max(tops, abs(v[i]));
    }
    float absmax = largest(tops);
    // Below this 127/absmax overflows.
    Vec inverse = splat(absmax > 1e-30f ? 127.0f / absmax : 0.0f);
    float sums[kGroup / kLanes], total = 0;
    for (int i = 0; i < kGroup / kLanes; ++i) {
      Vec q = round(v[i] * inverse);
      total += sums[i] = sum(q);
      store_int8(q8 + g * kGroup + i * kLanes, q);
    }
    bool finite = total == total;  // NaN or inf in the group: propagate NaN
    float scale = finite ? absmax / 127.0f : total;
    RowGroup& to = groups[g * stride] = {scale, scale * total, finite ? int32_t(total) : 0, {}};
    for (int i = 0; finite && i < kGroup / kLanes; ++i) to.sums[i] = int16_t(sums[i]);
  }
}

// Rows of k values, padded with zeros, in the RowFormats that the weights read.
class RowBuffer {
 public:
  void reserve(int rows, int k, int formats) {
    formats_ = formats;
    rows_ = rows;
    padded_k_ = round_up(k, kGroup);
    stride_ = padded_k_ + kLanes;  // a power of two would put all rows in the same cache sets
    if (formats != kRowBF16) values_.reserve(rows * stride_);
    if (formats & kRowBF16) bf16_.reserve(rows * stride_);
    if (formats & kRowQ8) {
      q8_.reserve(size_t(rows) * padded_k_);
      groups_.reserve(size_t(rows) * (padded_k_ / kGroup));
    }
  }
  // Float row; not to be used if rows are bf16 only.
  float* row(int i) const { return values_.data() + i * stride_; }

  // Values are written in the final format, so that `convert` has nothing to do.
  bool direct() const { return formats_ == kRowFloat || formats_ == kRowBF16; }
  // Values are written as bf16, not as floats.
  bool is_bf16() const { return formats_ == kRowBF16; }

  // write(row), of floats or of bf16, fills the row, which is then converted.
  template <class Write>
  void fill(int i, const Write& write) const {
    if (is_bf16()) return write(bf16_row(i));
    write(row(i));
    convert(i);
  }

  // Write `count` values at `column`; overload: one vector.
  void put(int i, int column, const float* values, int count) const {
    if (is_bf16()) put_all(bf16_row(i) + column, values, count);
    else put_all(row(i) + column, values, count);
  }
  void put(int i, int column, Vec values) const {
    if (is_bf16()) put_lanes(bf16_row(i) + column, values);
    else put_lanes(row(i) + column, values);
  }

  // Copy a row's unconverted values.
  void copy(int from, int to) const {
    if (is_bf16()) std::memmove(bf16_row(to), bf16_row(from), sizeof(uint16_t) * padded_k_);
    else std::memmove(row(to), row(from), sizeof(float) * padded_k_);
  }

  // Convert a row whose values were all put, unless `direct`.
  void convert(int i) const {
    if (formats_ & kRowBF16) {
      put_all(bf16_row(i), row(i), padded_k_);
    }
    if (formats_ & kRowQ8) {
      quantize_row(row(i), padded_k_, q8_.data() + size_t(i) * padded_k_, groups_.data() + i, rows_);
    }
  }
  Rows rows() const {
    return {values_.data(), stride_, bf16_.data(), stride_, q8_.data(), size_t(padded_k_),
            groups_.data(), rows_};
  }

 private:
  uint16_t* bf16_row(int i) const { return bf16_.data() + i * stride_; }

  int formats_ = kRowFloat;
  int padded_k_ = 0;
  size_t rows_ = 0, stride_ = 0;
  Buffer<float> values_;
  Buffer<uint16_t> bf16_;
  Buffer<int8_t> q8_;
  Buffer<RowGroup> groups_;
};

}  // namespace octavo
