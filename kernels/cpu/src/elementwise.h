// Row-wise operations between the matrix products: norms, rotation, activations.
#pragma once

#include "simd.h"

namespace octavo {

// out = x / rms(x) * weight, n values (Zhang and Sennrich, 2019, arXiv:1910.07467).
template <class Out>
void rms_norm(const float* x, const float* weight, int n, float eps, Out* out) {
  Vec squares = zero();
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vec v = load(x + i);
    squares = fma(v, v, squares);
  }
  float total = sum(squares);
  for (int j = i; j < n; ++j) total += x[j] * x[j];
  float scale = 1.0f / std::sqrt(total / float(n) + eps);
  for (i = 0; i + kLanes <= n; i += kLanes)
    put_lanes(out + i, load(x + i) * splat(scale) * load(weight + i));
  for (; i < n; ++i) put(out + i, x[i] * scale * weight[i]);
}

// out = (x - mean) / deviation * weight + bias (Ba et al., 2016, arXiv:1607.06450).
template <class Out>
void layer_norm(const float* x, const float* weight, const float* bias, int n, float eps, Out* out) {
  int full = n / kLanes * kLanes;
  Vec sums = zero(), squares = zero();
  for (int i = 0; i < full; i += kLanes) sums = sums + load(x + i);
  float mean = sum(sums);
  for (int i = full; i < n; ++i) mean += x[i];
  mean /= float(n);
  for (int i = 0; i < full; i += kLanes) {
    Vec d = load(x + i) - splat(mean);
    squares = fma(d, d, squares);
  }
  float variance = sum(squares);
  for (int i = full; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  float scale = 1.0f / std::sqrt(variance / float(n) + eps);
  for (int i = 0; i < full; i += kLanes)
    put_lanes(out + i, fma((load(x + i) - splat(mean)) * splat(scale), load(weight + i), load(bias + i)));
  for (int i = full; i < n; ++i) put(out + i, (x[i] - mean) * scale * weight[i] + bias[i]);
}

// Rotate the halves of the first `width` values of a head (Su et al., 2021, arXiv:2104.09864).
inline void rotate(float* x, const float* cosine, const float* sine, int width) {
  int half = width / 2, i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    Vec a = load(x + i), b = load(x + half + i);
    store(x + i, fma(a, load(cosine + i), zero() - b * load(sine + i)));
    store(x + half + i, fma(b, load(cosine + half + i), a * load(sine + half + i)));
  }
  for (; i < half; ++i) {
    float a = x[i], b = x[half + i];
    x[i] = a * cosine[i] - b * sine[i];
    x[half + i] = b * cosine[half + i] + a * sine[half + i];
  }
}

// Passed from Python; keep activations.py in step.
enum Activation : int32_t { kSilu = 0, kGeluTanh = 1, kGelu = 2, kQuickGelu = 3, kRelu = 4 };

// Activation function; `roughly`: with an error below the rounding to bf16.
inline Vec activate(Vec x, int32_t activation, bool roughly) {
  Vec y = x;  // x is multiplied with the sigmoid of y
  switch (activation) {
    case kSilu: break;
    case kGeluTanh: y = splat(1.5957691216f) * fma(splat(0.044715f) * x, x * x, x); break;
    case kQuickGelu: y = splat(1.702f) * x; break;
    case kGelu: return gelu(x);
    default: return max(zero(), x);
  }
  return roughly ? times_sigmoid_roughly(x, y) : times_sigmoid(x, y);
}

}  // namespace octavo
