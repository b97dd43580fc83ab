// The rows of a batch in a large table: their numbers merged, the rows themselves read, and updated by lazy Adam. Rows lie
// anywhere in memory; they are asked for some rows ahead, so that many are on their way at once.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <algorithm>
#include <utility>
#include <vector>

namespace {

constexpr int64_t AHEAD = 32;   // rows
constexpr int64_t LINE = 16;    // floats of a cache line
constexpr int DIGIT = 11;       // bits that a pass sorts by
constexpr int64_t BUCKETS = 1 << DIGIT;

inline void prefetch(const float* row, int64_t width) {
    for (int64_t x = 0; x < width; x += LINE) __builtin_prefetch(row + x);
}

template <int64_t FIXED>
void gather_rows(const float* table, int64_t width, const int32_t* ids, int64_t n, float* gathered) {
    const int64_t w = FIXED ? FIXED : width;
    for (int64_t i = 0; i < n; ++i) {
        if (i + AHEAD < n) prefetch(table + ids[i + AHEAD] * w, w);
        std::memcpy(gathered + i * w, table + ids[i] * w, w * sizeof(float));
    }
}

}  // namespace

extern "C" {

// The distinct numbers among n, rising, and where among them each stands; gives how many they are.
// scratch: int64 [2 n]; rows: int64 [n]; places: int32 [n].
int64_t merge(const int32_t* ids, int64_t n, int64_t* scratch, int64_t* rows, int32_t* places) {
    uint32_t largest = 0;
    uint64_t* from = reinterpret_cast<uint64_t*>(scratch);
    uint64_t* to = from + n;
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t id = static_cast<uint32_t>(ids[i]);
        largest = id > largest ? id : largest;
        from[i] = static_cast<uint64_t>(id) << 32 | static_cast<uint64_t>(i);
    }
    std::vector<int64_t> starts(BUCKETS);
    for (int shift = 0; shift < 32 && (largest >> shift) > 0; shift += DIGIT) {
        std::fill(starts.begin(), starts.end(), 0);
        for (int64_t i = 0; i < n; ++i) ++starts[from[i] >> (32 + shift) & (BUCKETS - 1)];
        int64_t sum = 0;
        for (int64_t& start : starts) sum += std::exchange(start, sum);
        for (int64_t i = 0; i < n; ++i) to[starts[from[i] >> (32 + shift) & (BUCKETS - 1)]++] = from[i];
        std::swap(from, to);
    }
    int64_t found = 0;
    for (int64_t i = 0; i < n; ++i) {
        const int64_t id = static_cast<int64_t>(from[i] >> 32);
        if (found == 0 || rows[found - 1] != id) rows[found++] = id;
        places[from[i] & 0xFFFFFFFFu] = static_cast<int32_t>(found - 1);
    }
    return found;
}

// Rows of a table, [n, width].
void gather(const float* table, int64_t width, const int32_t* ids, int64_t n, float* gathered) {
    if (width == 1) return gather_rows<1>(table, width, ids, n, gathered);
    if (width == 16) return gather_rows<16>(table, width, ids, n, gathered);
    gather_rows<0>(table, width, ids, n, gathered);
}

// Sums n rows of a gradient, [n / repeats, width], each as often as it is repeated, into zeros at their places.
void add(const float* gradient, int64_t width, const int32_t* places, int64_t n, int64_t repeats, float* sums) {
    for (int64_t i = 0; i < n; ++i) {
        const float* given = gradient + i / repeats * width;
        float* sum = sums + places[i] * width;
        for (int64_t x = 0; x < width; ++x) sum[x] += given[x];
    }
}

// One step of Adam on n rows, in place, as adam.update_rows computes it; shrink: float [n], or null.
void update(float* table, float* mean, float* square, int64_t width, const int64_t* rows, int64_t n,
            const float* gradient, float beta1, float beta2, float rate, float scale, float l2, float epsilon,
            const float* shrink) {
    for (int64_t i = 0; i < n; ++i) {
        if (i + AHEAD < n) {
            const int64_t later = rows[i + AHEAD] * width;
            prefetch(table + later, width);
            prefetch(mean + later, width);
            prefetch(square + later, width);
        }
        float* w = table + rows[i] * width;
        float* m = mean + rows[i] * width;
        float* v = square + rows[i] * width;
        const float* given = gradient + i * width;
#pragma omp simd
        for (int64_t x = 0; x < width; ++x) {
            const float g = given[x] + l2 * w[x];
            m[x] = beta1 * m[x] + (1.0f - beta1) * g;
            v[x] = beta2 * v[x] + (1.0f - beta2) * g * g;
            w[x] -= rate * m[x] / (std::sqrt(v[x]) * scale + epsilon);
        }
        if (!shrink) continue;
        const float by = shrink[i];
#pragma omp simd
        for (int64_t x = 0; x < width; ++x) {
            const float root = std::sqrt(v[x]) * scale + epsilon;
            w[x] *= root / (root + by);
        }
    }
}

}
