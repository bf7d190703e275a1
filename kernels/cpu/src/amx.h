// AMX tile instructions, or with OCTAVO_EMULATE_AMX the same in plain loops, so that kernels made of
// them can be tested on any processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simd.h"

#if !defined(OCTAVO_EMULATE_AMX)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo {

#if !defined(OCTAVO_EMULATE_AMX)

// Permission to use tiles, which each process must request from Linux once.
inline bool allow_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
}
// ldtilecfg as inline assembly: GCC's intrinsic declares a read of eight bytes only, so that stores to
// the others may be dropped (https://gcc.gnu.org/PR114098).
inline void tile_configure(const void* shape) {
  asm volatile("ldtilecfg %0" ::"m"(*static_cast<const uint8_t(*)[64]>(shape)));
}
inline void tile_release() { _tile_release(); }
// Tile instructions as inline assembly: GCC's intrinsics are macros that take literal digits, not
// template parameters.
template <int T>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
inline void tile_load(const void* from, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* to, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
inline void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
// int8 activations by int8 weights, or by uint8 ones.
template <bool Unsigned, int C, int A, int B>
inline void tile_dot_int8() {
  if constexpr (Unsigned) asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  else asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

#else

struct EmulatedTiles {
  uint8_t data[8][16][64];
  uint16_t row_bytes[8];
  uint8_t rows[8];
};
inline EmulatedTiles& emulated() {
  static thread_local EmulatedTiles tiles;
  return tiles;
}
inline bool allow_tiles() { return true; }
inline void tile_configure(const void* shape) {
  std::memcpy(emulated().row_bytes, static_cast<const uint8_t*>(shape) + 16, 16);
  std::memcpy(emulated().rows, static_cast<const uint8_t*>(shape) + 48, 8);
}
inline void tile_release() { std::memset(emulated().rows, 0, 8); }
template <int T>
inline void tile_zero() { std::memset(emulated().data[T], 0, sizeof(emulated().data[T])); }
template <int T>
inline void tile_load(const void* from, size_t stride) {
  for (int r = 0; r < emulated().rows[T]; ++r)
    std::memcpy(emulated().data[T][r], static_cast<const uint8_t*>(from) + r * stride, emulated().row_bytes[T]);
}
template <int T>
inline void tile_store(void* to, size_t stride) {
  for (int r = 0; r < emulated().rows[T]; ++r)
    std::memcpy(static_cast<uint8_t*>(to) + r * stride, emulated().data[T][r], emulated().row_bytes[T]);
}
template <int C, int A, int B>
inline void tile_dot_bf16() {
  auto& t = emulated();
  float* sums = reinterpret_cast<float*>(t.data[C]);
  const uint16_t* a = reinterpret_cast<const uint16_t*>(t.data[A]);
  const uint16_t* b = reinterpret_cast<const uint16_t*>(t.data[B]);
  for (int r = 0; r < t.rows[C]; ++r)
    for (int k = 0; k < t.row_bytes[A] / 2; ++k)
      for (int c = 0; c < 16; ++c)
        sums[r * 16 + c] += to_float(a[r * 32 + k]) * to_float(b[k / 2 * 32 + c * 2 + k % 2]);
}
template <bool Unsigned, int C, int A, int B>
inline void tile_dot_int8() {
  auto& t = emulated();
  int32_t* sums = reinterpret_cast<int32_t*>(t.data[C]);
  for (int r = 0; r < t.rows[C]; ++r)
    for (int k = 0; k < t.row_bytes[A]; ++k)
      for (int c = 0; c < 16; ++c) {
        uint8_t w = t.data[B][k / 4][c * 4 + k % 4];
        sums[r * 16 + c] += int8_t(t.data[A][r][k]) * (Unsigned ? int32_t(w) : int32_t(int8_t(w)));
      }
}

#endif

}  // namespace octavo
