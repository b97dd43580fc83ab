// Rows as several candidates would store them, weighted, and the gradients straight through, for the distinct rows of a
// batch.
//
// Rows lie one after another, band by band. Of every band come its candidates in turn.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <algorithm>
#include <limits>
#include <vector>

#include "nearest.h"

namespace {

enum Kind : int64_t { KEPT = 0, SHARED = 1, PRODUCT = 2, INTEGER = 3, HALF = 4, TURNED = 5 };

// The nearest number of 16 bits; what is beyond the largest becomes that.
inline float to_half(float value) {
    const float size = std::fabs(value);
    uint32_t bits;
    std::memcpy(&bits, &size, sizeof bits);
    bits = (bits + 0xFFFu + (bits >> 13 & 1u)) & ~0x1FFFu;
    float rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    const float tiny = std::nearbyint(size * 16777216.0f) / 16777216.0f;  // below the least normal number, 2^-14
    rounded = size < 6.103515625e-5f ? tiny : rounded;
    rounded = rounded > 65504.0f ? 65504.0f : rounded;
    return std::copysign(rounded, value);
}

// Rows times a matrix [X, X], or times its transposed, into turned, [n, X].
void turn(const float* rows, int64_t n, int64_t X, const float* matrix, bool transposed, float* turned) {
    std::vector<float> copy(matrix, matrix + X * X);
    if (transposed)
        for (int64_t x = 0; x < X; ++x)
            for (int64_t y = 0; y < X; ++y) copy[x * X + y] = matrix[y * X + x];
    std::memset(turned, 0, n * X * sizeof(float));
    for (int64_t i = 0; i < n; ++i) {
        const float* row = rows + i * X;
        float* out = turned + i * X;
        for (int64_t x = 0; x < X; ++x) {
            const float factor = row[x];
            const float* own = copy.data() + x * X;
#pragma omp simd
            for (int64_t y = 0; y < X; ++y) out[y] += factor * own[y];
        }
    }
}

// Integers up to the largest times a scale of 16 bits: of shares of the row's outermost number, the best.
void integers(const float* rows, int64_t n, int64_t X, float largest, const float* shares, int64_t n_shares,
              float* made) {
    std::vector<float> tried(X);
    for (int64_t i = 0; i < n; ++i) {
        const float* row = rows + i * X;
        float outermost = 0.0f;
#pragma omp simd reduction(max : outermost)
        for (int64_t x = 0; x < X; ++x) outermost = std::fabs(row[x]) > outermost ? std::fabs(row[x]) : outermost;
        float least = std::numeric_limits<float>::infinity();
        for (int64_t share = 0; share < n_shares; ++share) {
            const float step = to_half(outermost * (shares[share] / largest));
            const float inverse = step > 0 ? 1.0f / step : 0.0f;
            float error = 0.0f;
            float* out = tried.data();
#pragma omp simd reduction(+ : error)
            for (int64_t x = 0; x < X; ++x) {
                float whole = std::nearbyint(row[x] * inverse);
                whole = whole > largest ? largest : whole;
                whole = whole < -largest ? -largest : whole;
                out[x] = whole * step;
                error += (row[x] - out[x]) * (row[x] - out[x]);
            }
            if (error < least) {
                least = error;
                std::memcpy(made + i * X, out, X * sizeof(float));
            }
        }
        // A row with something that is no finite number is none at all, rather than any other row.
        if (!(least < std::numeric_limits<float>::infinity()))
            for (int64_t x = 0; x < X; ++x) made[i * X + x] = std::numeric_limits<float>::quiet_NaN();
    }
}

}  // namespace

extern "C" {

struct Shape {
    int64_t bands, most, dim;    // quantized bands, candidates at most, X
    const int64_t* counts;       // [bands] rows of each
    const int64_t* candidates;   // [bands] candidates of each
    const int64_t* kinds;        // [bands, most]
    const int64_t* sizes;        // [bands, most] K, largest integer, or number of shared rows
    const int64_t* subspaces;    // [bands, most] D
    const int64_t* tried;        // [bands, most] how many shares of the outermost number, the last ones, are tried
    const float* shares_end;     // behind the shares
    const float* rows;           // [n, X]
    const int64_t* places;       // [n] numbers of the rows among their band's
    const float* weights;        // [bands, most]
    const float* const* parts;   // [bands, most] to centroids [K, X], or shared rows
    const float* const* turns;   // [bands, most] to what rows are turned by before they are quantized, [X, X]
    int32_t* codes;              // for every product quantizer of every band: [rows of the band, D]
    float* made;                 // for every candidate of every band: [rows of the band, X]
};

// Mixes the rows of a batch into mixed, [n, X]; keeps what the gradients need.
void mix(const Shape* shape, float* mixed) {
    const int64_t X = shape->dim;
    const float* rows = shape->rows;
    const int64_t* places = shape->places;
    int32_t* codes = shape->codes;
    float* made = shape->made;
    std::vector<float> turned, quantized;
    for (int64_t band = 0; band < shape->bands; ++band) {
        const int64_t n = shape->counts[band];
        std::memset(mixed, 0, n * X * sizeof(float));
        for (int64_t candidate = 0; n && candidate < shape->candidates[band]; ++candidate) {
            const int64_t at = band * shape->most + candidate, size = shape->sizes[at], D = shape->subspaces[at];
            switch (shape->kinds[at]) {
                case SHARED:
                    for (int64_t i = 0; i < n; ++i)
                        std::memcpy(made + i * X, shape->parts[at] + places[i] % size * X, X * sizeof(float));
                    break;
                case PRODUCT:
                    nearest(rows, n, X, shape->parts[at], size, D, codes, made);
                    codes += n * D;
                    break;
                case TURNED:
                    turned.resize(n * X);
                    quantized.resize(n * X);
                    turn(rows, n, X, shape->turns[at], false, turned.data());
                    nearest(turned.data(), n, X, shape->parts[at], size, D, codes, quantized.data());
                    turn(quantized.data(), n, X, shape->turns[at], true, made);
                    codes += n * D;
                    break;
                case INTEGER:
                    integers(rows, n, X, static_cast<float>(size), shape->shares_end - shape->tried[at],
                             shape->tried[at], made);
                    break;
                case HALF:
                    for (int64_t j = 0; j < n * X; ++j) made[j] = to_half(rows[j]);
                    break;
                default:
                    std::memcpy(made, rows, n * X * sizeof(float));
            }
            const float weight = shape->weights[at];
#pragma omp simd
            for (int64_t j = 0; j < n * X; ++j) mixed[j] += weight * made[j];
            made += n * X;
        }
        rows += n * X;
        mixed += n * X;
        places += n;
    }
}

// Gradients from that of mixed, [n, X]: by the weights [bands, most], and, unless part_gradients is null, by the rows
// [n, X], straight through, and by centroids and shared rows. All are added to.
void mix_gradients(const Shape* shape, const float* gradient, float* weight_gradient, float* row_gradient,
                   float* const* part_gradients) {
    const int64_t X = shape->dim;
    const int64_t* places = shape->places;
    const int32_t* codes = shape->codes;
    const float* made = shape->made;
    std::vector<float> turned;
    for (int64_t band = 0; band < shape->bands; ++band) {
        const int64_t n = shape->counts[band];
        float through = 0.0f;
        for (int64_t candidate = 0; n && candidate < shape->candidates[band]; ++candidate) {
            const int64_t at = band * shape->most + candidate, D = shape->subspaces[at], S = X / D;
            float total = 0.0f;
#pragma omp simd reduction(+ : total)
            for (int64_t j = 0; j < n * X; ++j) total += gradient[j] * made[j];
            weight_gradient[at] += total;
            made += n * X;
            const float weight = shape->weights[at];
            const bool is_shared = shape->kinds[at] == SHARED, is_turned = shape->kinds[at] == TURNED;
            const bool is_product = shape->kinds[at] == PRODUCT || is_turned;
            if (!is_shared) through += weight;
            if (part_gradients != nullptr && is_shared) {
                for (int64_t i = 0; i < n; ++i) {
                    float* sum = part_gradients[at] + places[i] % shape->sizes[at] * X;
                    for (int64_t x = 0; x < X; ++x) sum[x] += weight * gradient[i * X + x];
                }
            } else if (part_gradients != nullptr && is_product) {
                const float* own = gradient;
                if (is_turned) {
                    turned.resize(n * X);
                    turn(gradient, n, X, shape->turns[at], false, turned.data());
                    own = turned.data();
                }
                for (int64_t part = 0; part < n * D; ++part) {
                    float* sum = part_gradients[at] + codes[part] * X + part % D * S;
                    for (int64_t s = 0; s < S; ++s) sum[s] += weight * own[part * S + s];
                }
            }
            if (is_product) codes += n * D;
        }
        if (part_gradients != nullptr)
            for (int64_t j = 0; j < n * X; ++j) row_gradient[j] += through * gradient[j];
        gradient += n * X;
        row_gradient += n * X;
        places += n;
    }
}

}  // extern "C"
