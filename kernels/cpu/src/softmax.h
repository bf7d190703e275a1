// Online softmax (Milakov and Gimelshein, 2018, arXiv:1805.02867).
#pragma once

#include <limits>

#include "simd.h"

namespace octavo {

class RunningSoftmax {
 public:
  float row_max() const { return row_max_; }
  float total() const { return total_; }

  // Scores [panels * 16] -> exp(score - row max so far), 0 outside low … high. Returns the factor by
  // which sums with earlier weights must be rescaled.
  float exp_weights(float* row, int panels, int low, int high) {
    bool partial = low > 0 || high < panels * kLanes;
    if (partial) fill_outside(row, panels, low, high, kHidden);
    Vec top = splat(row_max_);
    for (int p = 0; p < panels; ++p) top = max(top, load(row + p * kLanes));
    float new_max = largest(top);
    if (new_max == kHidden) {  // no visible key yet
      for (int p = 0; p < panels; ++p) store(row + p * kLanes, zero());
      return 1.0f;
    }
    Vec limit = splat(new_max), sums = zero();
    for (int p = 0; p < panels; ++p) store(row + p * kLanes, exp(load(row + p * kLanes) - limit));
    if (partial) fill_outside(row, panels, low, high, 0.0f);
    for (int p = 0; p < panels; ++p) sums = sums + load(row + p * kLanes);
    return rescale(new_max, sum(sums));
  }

  // Overload for P panels in registers without a mask; `roughly` as for exp_roughly.
  template <int P>
  float exp_weights(Vec (&row)[P], bool roughly) {
    Vec top = splat(row_max_), sums = zero();
    for (int p = 0; p < P; ++p) top = max(top, row[p]);
    float new_max = largest(top);
    if (new_max == kHidden) {
      for (int p = 0; p < P; ++p) row[p] = zero();
      return 1.0f;
    }
    if (roughly)
      for (int p = 0; p < P; ++p) row[p] = exp_roughly(row[p] - splat(new_max));
    else
      for (int p = 0; p < P; ++p) row[p] = exp(row[p] - splat(new_max));
    for (int p = 0; p < P; ++p) sums = sums + row[p];
    return rescale(new_max, sum(sums));
  }

 private:
  float rescale(float new_max, float weights) {
    float factor = new_max == row_max_ ? 1.0f : row_max_ == kHidden ? 0.0f : first_lane(exp(splat(row_max_ - new_max)));
    row_max_ = new_max;
    total_ = total_ * factor + weights;
    return factor;
  }

  static constexpr float kHidden = -std::numeric_limits<float>::infinity();

  static void fill_outside(float* row, int panels, int low, int high, float value) {
    for (int c = 0; c < low; ++c) row[c] = value;
    for (int c = high; c < panels * kLanes; ++c) row[c] = value;
  }

  float row_max_ = kHidden, total_ = 0;
};

// Soft cap of scores: softcap * tanh(score / softcap); 0 for none.
inline void cap_scores(float* row, int panels, float softcap) {
  if (softcap <= 0) return;
  for (int p = 0; p < panels; ++p)
    store(row + p * kLanes, tanh(load(row + p * kLanes) / splat(softcap)) * splat(softcap));
}

}  // namespace octavo
