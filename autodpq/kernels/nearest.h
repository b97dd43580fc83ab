// The nearest centroids of rows, which are looked at in blocks, one number of all rows of a block beside the other, so that
// the innermost loops run over rows.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t LANES = 8, VECTORS = 4, BLOCK = LANES * VECTORS;  // rows; what is kept of a block fits registers

typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));

// The nearest centroid of every part of every row: codes [n, D] and, unless made is null, what they stand for, [n, X].
inline void nearest(const float* rows, int64_t n, int64_t X, const float* keys, int64_t K, int64_t D, int32_t* codes,
                    float* made) {
    const int64_t S = X / D;
    std::vector<float> bias(K * D);  // half of the centroids' squares
    for (int64_t k = 0; k < K; ++k)
        for (int64_t x = 0; x < X; ++x) bias[k * D + x / S] += 0.5f * keys[k * X + x] * keys[k * X + x];
    std::vector<float> block(X * BLOCK);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t here = std::min(BLOCK, n - begin);
        for (int64_t i = 0; i < here; ++i)
            for (int64_t x = 0; x < X; ++x) block[x * BLOCK + i] = rows[(begin + i) * X + x];
        for (int64_t d = 0; d < D; ++d) {
            const float* parts = block.data() + d * S * BLOCK;
            Floats best[VECTORS];
            Integers code[VECTORS];
            for (int v = 0; v < VECTORS; ++v) {
                best[v] = Floats{} - std::numeric_limits<float>::infinity();
                code[v] = Integers{};
            }
            for (int64_t k = 0; k < K; ++k) {
                const float* key = keys + k * X + d * S;
                Floats score[VECTORS];
                for (int v = 0; v < VECTORS; ++v) score[v] = Floats{} - bias[k * D + d];
                for (int64_t s = 0; s < S; ++s)
                    for (int v = 0; v < VECTORS; ++v) {
                        Floats part;
                        std::memcpy(&part, parts + s * BLOCK + v * LANES, sizeof part);
                        score[v] += key[s] * part;
                    }
                for (int v = 0; v < VECTORS; ++v) {
                    const Integers better = score[v] > best[v];
                    best[v] = better ? score[v] : best[v];
                    code[v] = better ? Integers{} + static_cast<int32_t>(k) : code[v];
                }
            }
            for (int64_t i = 0; i < here; ++i) {
                const int32_t own = code[i / LANES][i % LANES];
                codes[(begin + i) * D + d] = own;
                if (made != nullptr)
                    std::memcpy(made + (begin + i) * X + d * S, keys + own * X + d * S, S * sizeof(float));
            }
        }
    }
}

}  // namespace
