// Instruction sets that the code uses, from the compiler's flags. Tests define these names themselves,
// with emulated instructions behind them.
#pragma once

#if defined(__AVX512F__)
#define OCTAVO_AVX512
#endif
#if defined(__AVX512VNNI__)
#define OCTAVO_VNNI
#endif
#if defined(__AVX512BF16__)
#define OCTAVO_BF16
#endif
#if defined(__AMX_TILE__)
#define OCTAVO_TILES
#endif
