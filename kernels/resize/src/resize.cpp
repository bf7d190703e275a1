// Antialiased resizing of RGB bytes along one axis, in the integers of ATen's UpSampleKernel.cpp:
// each byte is the sum of int16 weights times bytes, halves rounded up, clamped to a byte. The
// sums have no rounding of their own, so that every order of them gives the same bytes. Threads
// are the caller's; what is to be computed is in ../weights.py.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int kChannels = 3;

// The weights of one axis: `taps` of each output, the first for the input at its start.
struct Axis {
    const int32_t* starts;
    const int16_t* weights;
    int taps;
    int precision;

    int32_t half() const { return 1 << (precision - 1); }
    uint8_t byte(int32_t sum) const {
        return static_cast<uint8_t>(std::clamp(sum >> precision, 0, 255));
    }
};

#ifdef __AVX2__

// Pixels that are read together along a row.
constexpr int kGroup = 4;

// Two int16 of a weight's pair for each of four sums.
inline __m256i pair_of_weights(const int16_t* weights) {
    int32_t pair;
    std::memcpy(&pair, weights, sizeof pair);
    return _mm256_set1_epi32(pair);
}

// Four sums to four bytes, of which three are the pixel.
inline void store_pixel(__m128i sums, int precision, uint8_t* output) {
    sums = _mm_sra_epi32(sums, _mm_cvtsi32_si128(precision));
    sums = _mm_packs_epi32(sums, sums);
    const int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(sums, sums));
    std::memcpy(output, &pixel, kChannels);
}

// Rows of `inputs`, each followed by readable bytes, to `width` pixels. weights: in whole groups.
template <int Rows>
void resize_rows(const uint8_t* const* inputs, uint8_t* const* outputs, int width,
                 const Axis& axis) {
    // Pixels 0 and 1 in one half, 2 and 3 in the other, as int16 beside their channel's other.
    const __m256i spread = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i spread_weights = _mm256_setr_epi8(
        0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
        4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    const __m128i half = _mm_set1_epi32(axis.half());
    for (int x = 0; x < width; ++x) {
        const int16_t* weights = axis.weights + static_cast<int64_t>(x) * axis.taps;
        int64_t at = static_cast<int64_t>(axis.starts[x]) * kChannels;
        __m256i sums[Rows];
        for (auto& sum : sums) sum = _mm256_setzero_si256();
        for (int tap = 0; tap < axis.taps; tap += kGroup, at += kGroup * kChannels) {
            int64_t four;
            std::memcpy(&four, weights + tap, sizeof four);
            const __m256i factors =
                _mm256_shuffle_epi8(_mm256_set1_epi64x(four), spread_weights);
            for (int row = 0; row < Rows; ++row) {
                const __m256i pixels = _mm256_broadcastsi128_si256(
                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(inputs[row] + at)));
                sums[row] = _mm256_add_epi32(
                    sums[row],
                    _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, spread), factors));
            }
        }
        for (int row = 0; row < Rows; ++row) {
            const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums[row]),
                                              _mm256_extracti128_si256(sums[row], 1));
            store_pixel(_mm_add_epi32(sum, half), axis.precision, outputs[row] + x * kChannels);
        }
    }
}

// Weights in whole groups, filled up by zeros.
std::vector<int16_t> grouped(const Axis& axis, int width) {
    const int taps = (axis.taps + kGroup - 1) / kGroup * kGroup;
    std::vector<int16_t> weights(static_cast<size_t>(width) * taps);
    for (int x = 0; x < width; ++x) {
        std::copy_n(axis.weights + static_cast<int64_t>(x) * axis.taps, axis.taps,
                    weights.begin() + static_cast<int64_t>(x) * taps);
    }
    return weights;
}

void horizontal(const uint8_t* input, int64_t rows, int input_width, uint8_t* output,
                int output_width, Axis axis) {
    constexpr int kRows = 4;
    const std::vector<int16_t> weights = grouped(axis, output_width);
    axis.taps = (axis.taps + kGroup - 1) / kGroup * kGroup;
    axis.weights = weights.data();
    // Rows are copied, as groups reach beyond their ends.
    const int64_t row_bytes = static_cast<int64_t>(input_width) * kChannels;
    const int64_t room = row_bytes + static_cast<int64_t>(axis.taps) * kChannels + 16;
    std::vector<uint8_t> copies(static_cast<size_t>(room) * kRows);
    const uint8_t* inputs[kRows];
    uint8_t* outputs[kRows];
    for (int64_t row = 0; row < rows;) {
        const int together = rows - row < kRows ? 1 : kRows;
        for (int i = 0; i < together; ++i) {
            std::memcpy(copies.data() + i * room, input + (row + i) * row_bytes, row_bytes);
            inputs[i] = copies.data() + i * room;
            outputs[i] = output + (row + i) * output_width * kChannels;
        }
        if (together == kRows) {
            resize_rows<kRows>(inputs, outputs, output_width, axis);
        } else {
            resize_rows<1>(inputs, outputs, output_width, axis);
        }
        row += together;
    }
}

// 32 bytes of one output row.
inline void sum_columns(const uint8_t* input, int64_t row_bytes, const int16_t* weights,
                        const Axis& axis, uint8_t* output) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums[4];
    for (auto& sum : sums) sum = _mm256_set1_epi32(axis.half());
    for (int tap = 0; tap < axis.taps; tap += 2, input += 2 * row_bytes) {
        const bool is_pair = tap + 1 < axis.taps;
        const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(input));
        const __m256i second =
            is_pair ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(input + row_bytes))
                    : zero;
        const __m256i factors =
            is_pair ? pair_of_weights(weights + tap)
                    : _mm256_set1_epi32(static_cast<uint16_t>(weights[tap]));
        const __m256i low = _mm256_unpacklo_epi8(first, second);
        const __m256i high = _mm256_unpackhi_epi8(first, second);
        const __m256i parts[4] = {
            _mm256_unpacklo_epi8(low, zero), _mm256_unpackhi_epi8(low, zero),
            _mm256_unpacklo_epi8(high, zero), _mm256_unpackhi_epi8(high, zero)};
        for (int i = 0; i < 4; ++i) {
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(parts[i], factors));
        }
    }
    const __m128i shift = _mm_cvtsi32_si128(axis.precision);
    for (auto& sum : sums) sum = _mm256_sra_epi32(sum, shift);
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                              _mm256_packs_epi32(sums[2], sums[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(output), bytes);
}

#else

void horizontal(const uint8_t* input, int64_t rows, int input_width, uint8_t* output,
                int output_width, const Axis& axis) {
    for (int64_t row = 0; row < rows; ++row, input += input_width * kChannels) {
        for (int x = 0; x < output_width; ++x, output += kChannels) {
            const int16_t* weights = axis.weights + static_cast<int64_t>(x) * axis.taps;
            const uint8_t* pixels = input + axis.starts[x] * kChannels;
            const int taps = std::min(axis.taps, input_width - axis.starts[x]);
            int32_t sums[kChannels] = {axis.half(), axis.half(), axis.half()};
            for (int tap = 0; tap < taps; ++tap) {
                for (int c = 0; c < kChannels; ++c) {
                    sums[c] += weights[tap] * pixels[tap * kChannels + c];
                }
            }
            for (int c = 0; c < kChannels; ++c) output[c] = axis.byte(sums[c]);
        }
    }
}

#endif

}  // namespace

// [height, width, 3] to [height, size, 3].
extern "C" __attribute__((visibility("default"))) void octavo_resize_horizontal(
    const uint8_t* input, int32_t height, int32_t width, uint8_t* output, int32_t size,
    const int32_t* starts, const int16_t* weights, int32_t taps, int32_t precision) {
    horizontal(input, height, width, output, size, {starts, weights, taps, precision});
}

// [height, width, 3] to [size, width, 3].
extern "C" __attribute__((visibility("default"))) void octavo_resize_vertical(
    const uint8_t* input, int32_t height, int32_t width, uint8_t* output, int32_t size,
    const int32_t* starts, const int16_t* weights, int32_t taps, int32_t precision) {
    const int64_t row_bytes = static_cast<int64_t>(width) * kChannels;
    std::vector<int32_t> sums(static_cast<size_t>(row_bytes));
    for (int y = 0; y < size; ++y, output += row_bytes) {
        // Beyond the last row weights are zero.
        const Axis axis{starts, weights, std::min(taps, height - starts[y]), precision};
        const int16_t* row_weights = weights + static_cast<int64_t>(y) * taps;
        const uint8_t* rows = input + starts[y] * row_bytes;
#ifdef __AVX2__
        constexpr int64_t kBlock = 32;
        if (row_bytes >= kBlock) {
            for (int64_t at = 0; at < row_bytes; at += kBlock) {
                const int64_t block = std::min(at, row_bytes - kBlock);
                sum_columns(rows + block, row_bytes, row_weights, axis, output + block);
            }
            continue;
        }
#endif
        std::fill(sums.begin(), sums.end(), axis.half());
        for (int tap = 0; tap < axis.taps; ++tap) {
            for (int64_t i = 0; i < row_bytes; ++i) {
                sums[i] += row_weights[tap] * rows[tap * row_bytes + i];
            }
        }
        for (int64_t i = 0; i < row_bytes; ++i) output[i] = axis.byte(sums[i]);
    }
}
