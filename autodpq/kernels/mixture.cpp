// The weighted sum of a field's candidates (Eq. 1 to 3) and its gradients, for the few rare rows that a batch holds.
//
// Rows lie one after another, field by field. Of every field come its candidates in turn: quantization by a softmax over
// centroids, BatchNorm over the field's rows (not for a plan, which has one candidate), the candidate's weight. Centroids
// are transposed first, so that the innermost loops run over centroids.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr float EPSILON = 1e-5f;  // BatchNorm's

// exp(x) for x <= 0, to two units in the last place; what is below the least normal number is 0.
inline float exp_of_negative(float x) {
    const float clamped = x < -87.0f ? -87.0f : x;
    const int32_t n = static_cast<int32_t>(clamped * 1.44269504f - 0.5f);
    const float r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
    const float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666672f + r * (0.0416664667f + r * (0.00833336823f + r *
                    0.00139304355f)))));
    const int32_t bits = (n + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

// One candidate's quantization (Eq. 1). Loops over centroids are short: a number of them that is known beforehand keeps
// what they compute in registers.
struct Candidate {
    int64_t n, X, D, K;
    float scale;              // of the inner products in the scores
    const float* rows;        // [n, X]
    const float* transposed;  // [X, K]
    const float* bias;        // [D, K], of the scores
};

// Weights of the centroids, [n, D, K], and quantized rows, [n, X].
template <int64_t FIXED>
void quantize_rows(const Candidate& c, float* softmax, float* quantized) {
    const int64_t K = FIXED ? FIXED : c.K, S = c.X / c.D;
    for (int64_t part = 0; part < c.n * c.D; ++part) {
        const int64_t d = part % c.D;
        const float* row = c.rows + part * S;
        const float* q = c.transposed + d * S * K;
        float* w = softmax + part * K;
        std::memcpy(w, c.bias + d * K, K * sizeof(float));
        for (int64_t s = 0; s < S; ++s) {
            const float r = row[s] * c.scale;
#pragma omp simd
            for (int64_t k = 0; k < K; ++k) w[k] += r * q[s * K + k];
        }
        float best = w[0], sum = 0.0f;
#pragma omp simd reduction(max : best)
        for (int64_t k = 0; k < K; ++k) best = w[k] > best ? w[k] : best;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < K; ++k) {
            w[k] = exp_of_negative(w[k] - best);
            sum += w[k];
        }
        const float share = 1.0f / sum;
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) w[k] *= share;
        for (int64_t s = 0; s < S; ++s) {
            float value = 0.0f;
#pragma omp simd reduction(+ : value)
            for (int64_t k = 0; k < K; ++k) value += w[k] * q[s * K + k];
            quantized[part * S + s] = value;
        }
    }
}

// Gradients by the centroids, [X, K], and the rows, [n, X], from that of the quantized rows, [n, X]. Both are added to.
template <int64_t FIXED>
void quantize_gradients(const Candidate& c, const float* softmax, const float* inward, bool euclidean, float* scratch,
                        float* by_keys, float* by_rows) {
    const int64_t K = FIXED ? FIXED : c.K, S = c.X / c.D;
    for (int64_t part = 0; part < c.n * c.D; ++part) {
        const int64_t d = part % c.D;
        const float* row = c.rows + part * S;
        const float* in = inward + part * S;
        const float* w = softmax + part * K;
        const float* q = c.transposed + d * S * K;
        float* dq = by_keys + d * S * K;
        float* dw = scratch;
        std::memset(dw, 0, K * sizeof(float));
        for (int64_t s = 0; s < S; ++s) {
            const float value = in[s];
#pragma omp simd
            for (int64_t k = 0; k < K; ++k) dw[k] += value * q[s * K + k];
        }
        float average = 0.0f;
#pragma omp simd reduction(+ : average)
        for (int64_t k = 0; k < K; ++k) average += w[k] * dw[k];
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) dw[k] = w[k] * (dw[k] - average) * c.scale;
        for (int64_t s = 0; s < S; ++s) {
            const float value = in[s], r = row[s], own = euclidean ? 1.0f : 0.0f;
            float back = 0.0f;
#pragma omp simd reduction(+ : back)
            for (int64_t k = 0; k < K; ++k) {
                dq[s * K + k] += w[k] * value + dw[k] * (r - own * q[s * K + k]);
                back += dw[k] * q[s * K + k];
            }
            by_rows[part * S + s] += back;
        }
    }
}

// Calls a function with a number of centroids that is known beforehand, 0 where it is not.
template <typename Function>
void with_known(int64_t K, Function function) {
    switch (K) {
        case 8: return function(std::integral_constant<int64_t, 8>());
        case 16: return function(std::integral_constant<int64_t, 16>());
        case 32: return function(std::integral_constant<int64_t, 32>());
        default: return function(std::integral_constant<int64_t, 0>());
    }
}

}  // namespace

extern "C" {

struct Shape {
    int64_t fields, most, dim;    // searched fields, candidates at most, X
    const int64_t* counts;        // [fields] rows of each
    const int64_t* candidates;    // [fields] candidates of each
    const int64_t* centroids;     // [fields, most] K
    const int64_t* subspaces;     // [fields, most] D
    const float* const* keys;     // [fields, most] to [K, X]
    float inverse_temperature;
    int64_t euclidean;            // 1: minus squared distances; 0: inner products
    int64_t normalises;           // 1: BatchNorm
    const float* rows;            // [n, X]
    const float* running_mean;    // [fields, most, X]
    const float* running_variance;
    const float* weights;         // [fields, most]
    const float* deviation;       // [fields, X], or null: results are not scaled
    const float* shift;           // [fields, X]
    float* softmax;               // for every candidate of every field: [rows of the field, D, K]
    float* normalised;            // for every candidate of every field: [rows of the field, X]
    float* mean;                  // [fields, most, X] of the batch
    float* variance;
};

static void transpose(const float* keys, float* transposed, int64_t K, int64_t X) {
    for (int64_t k = 0; k < K; ++k)
        for (int64_t x = 0; x < X; ++x) transposed[x * K + k] = keys[k * X + x];
}

// Mixes the rows of a batch into mixed, [n, X]; keeps what the gradients need.
void mix(const Shape* shape, float* mixed) {
    const int64_t X = shape->dim;
    std::vector<float> transposed, bias;
    float* softmax = shape->softmax;
    float* normalised = shape->normalised;
    const float* rows = shape->rows;
    for (int64_t field = 0; field < shape->fields; ++field) {
        const int64_t n = shape->counts[field];
        std::memset(mixed, 0, n * X * sizeof(float));
        for (int64_t candidate = 0; candidate < shape->candidates[field]; ++candidate) {
            const int64_t place = field * shape->most + candidate;
            const int64_t K = shape->centroids[place], D = shape->subspaces[place], S = X / D;
            const float scale = shape->inverse_temperature * (shape->euclidean ? 2 : 1);
            transposed.resize(X * K);
            transpose(shape->keys[place], transposed.data(), K, X);
            bias.assign(D * K, 0.0f);
            if (shape->euclidean)
                for (int64_t x = 0; x < X; ++x)
                    for (int64_t k = 0; k < K; ++k)
                        bias[x / S * K + k] -= shape->inverse_temperature * transposed[x * K + k] * transposed[x * K + k];
            const Candidate one = {n, X, D, K, scale, rows, transposed.data(), bias.data()};
            with_known(K, [&](auto known) { quantize_rows<decltype(known)::value>(one, softmax, normalised); });
            const float weight = shape->weights[place];
            if (!shape->normalises) {
                for (int64_t j = 0; j < n * X; ++j) mixed[j] += weight * normalised[j];
                softmax += n * D * K;
                normalised += n * X;
                continue;
            }
            float* mean = shape->mean + place * X;
            float* variance = shape->variance + place * X;
            std::memset(mean, 0, X * sizeof(float));
            std::memset(variance, 0, X * sizeof(float));
            for (int64_t i = 0; i < n; ++i)
                for (int64_t x = 0; x < X; ++x) mean[x] += normalised[i * X + x];
            for (int64_t x = 0; x < X; ++x) mean[x] /= n > 0 ? n : 1;
            for (int64_t i = 0; i < n; ++i)
                for (int64_t x = 0; x < X; ++x) {
                    const float centred = normalised[i * X + x] - mean[x];
                    variance[x] += centred * centred;
                }
            for (int64_t x = 0; x < X; ++x) variance[x] /= n > 0 ? n : 1;
            // One row alone has no variance: its field keeps to the running statistics.
            const float* centre = n < 2 ? shape->running_mean + place * X : mean;
            const float* spread = n < 2 ? shape->running_variance + place * X : variance;
            for (int64_t x = 0; x < X; ++x) {
                const float factor = 1.0f / std::sqrt(spread[x] + EPSILON);
                for (int64_t i = 0; i < n; ++i) {
                    float& value = normalised[i * X + x];
                    value = (value - centre[x]) * factor;
                    mixed[i * X + x] += weight * value;
                }
            }
            softmax += n * D * K;
            normalised += n * X;
        }
        if (shape->deviation != nullptr)
            for (int64_t i = 0; i < n; ++i)
                for (int64_t x = 0; x < X; ++x)
                    mixed[i * X + x] = shape->shift[field * X + x] + mixed[i * X + x] * shape->deviation[field * X + x];
        rows += n * X;
        mixed += n * X;
    }
}

// Gradients from that of mixed, [n, X]: by the weights [fields, most], and, unless key_gradients is null, by the rows
// [n, X] and the keys. All are added to.
void mix_gradients(const Shape* shape, const float* gradient, float* weight_gradient, float* row_gradient,
                   float* const* key_gradients) {
    const int64_t X = shape->dim;
    std::vector<float> transposed, key_gradient, inward, outward, arrived;
    const float* softmax = shape->softmax;
    const float* normalised = shape->normalised;
    const float* rows = shape->rows;
    for (int64_t field = 0; field < shape->fields; ++field) {
        const int64_t n = shape->counts[field];
        arrived.resize(n * X);
        for (int64_t i = 0; i < n; ++i)
            for (int64_t x = 0; x < X; ++x)
                arrived[i * X + x] = gradient[i * X + x] * (shape->deviation ? shape->deviation[field * X + x] : 1.0f);
        for (int64_t candidate = 0; candidate < shape->candidates[field]; ++candidate) {
            const int64_t place = field * shape->most + candidate;
            const int64_t K = shape->centroids[place], D = shape->subspaces[place];
            float total = 0.0f;
#pragma omp simd reduction(+ : total)
            for (int64_t j = 0; j < n * X; ++j) total += arrived[j] * normalised[j];
            weight_gradient[place] += total;
            if (key_gradients != nullptr) {
                const float scale = shape->inverse_temperature * (shape->euclidean ? 2 : 1);
                const float weight = shape->weights[place];
                transposed.resize(X * K);
                transpose(shape->keys[place], transposed.data(), K, X);
                key_gradient.assign(X * K, 0.0f);
                inward.resize(n * X);
                if (!shape->normalises)
                    for (int64_t j = 0; j < n * X; ++j) inward[j] = weight * arrived[j];
                for (int64_t x = 0; x < (shape->normalises ? X : 0); ++x) {  // through BatchNorm
                    const float* spread = (n < 2 ? shape->running_variance : shape->variance) + place * X;
                    const float factor = weight / std::sqrt(spread[x] + EPSILON);
                    float sum = 0.0f, product = 0.0f;
                    if (n >= 2) {
                        for (int64_t i = 0; i < n; ++i) {
                            sum += arrived[i * X + x];
                            product += arrived[i * X + x] * normalised[i * X + x];
                        }
                        sum /= n;
                        product /= n;
                    }
                    for (int64_t i = 0; i < n; ++i)
                        inward[i * X + x] = factor * (arrived[i * X + x] - sum - normalised[i * X + x] * product);
                }
                outward.resize(K);
                const Candidate one = {n, X, D, K, scale, rows, transposed.data(), nullptr};
                with_known(K, [&](auto known) {
                    quantize_gradients<decltype(known)::value>(one, softmax, inward.data(), shape->euclidean != 0,
                                                               outward.data(), key_gradient.data(), row_gradient);
                });
                float* keys = key_gradients[place];
                for (int64_t k = 0; k < K; ++k)
                    for (int64_t x = 0; x < X; ++x) keys[k * X + x] += key_gradient[x * K + k];
            }
            softmax += n * D * K;
            normalised += n * X;
        }
        rows += n * X;
        gradient += n * X;
        row_gradient += n * X;
    }
}

}  // extern "C"
