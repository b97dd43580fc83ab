// K-means in every subspace, and the codes of rows.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "nearest.h"

extern "C" {

// Codes [n, D] of rows [n, X] by centroids [K, X], the D subspaces side by side.
void find_codes(const float* rows, int64_t n, int64_t X, const float* centroids, int64_t K, int64_t D, int32_t* codes) {
    nearest(rows, n, X, centroids, K, D, codes, nullptr);
}

// Centroids [K, X] to start from: in every subspace the next is a row, of the weighted squared distance from those that are
// there its share as draws [K, D], in [0, 1), says.
void spread(const float* rows, const double* weights, int64_t n, int64_t X, const double* draws, int64_t K, int64_t D,
            float* centroids) {
    const int64_t S = X / D;
    std::vector<double> shares(n);
    std::vector<float> distances(n);
    for (int64_t d = 0; d < D; ++d) {
        for (int64_t k = 0; k < K; ++k) {
            double total = 0;
            for (int64_t i = 0; i < n; ++i) {
                total += k ? weights[i] * distances[i] : weights[i];
                shares[i] = total;
            }
            const double share = draws[k * D + d] * total;
            const int64_t place = std::upper_bound(shares.begin(), shares.end(), share) - shares.begin();
            float* centroid = centroids + k * X + d * S;
            std::copy_n(rows + std::min(place, n - 1) * X + d * S, S, centroid);
            for (int64_t i = 0; i < n; ++i) {
                float far = 0;
                for (int64_t s = 0; s < S; ++s) {
                    const float apart = rows[i * X + d * S + s] - centroid[s];
                    far += apart * apart;
                }
                distances[i] = k ? std::min(distances[i], far) : far;
            }
        }
    }
}

// Moves centroids [K, X] to the weighted means of the rows [n, X] that are nearest, so many times; one to which none is
// stays.
void lloyd(const float* rows, const float* weights, int64_t n, int64_t X, float* centroids, int64_t K, int64_t D,
           int64_t rounds) {
    const int64_t S = X / D;
    std::vector<int32_t> codes(n * D);
    std::vector<double> sums(K * X), totals(K * D);
    for (int64_t round = 0; round < rounds; ++round) {
        nearest(rows, n, X, centroids, K, D, codes.data(), nullptr);
        std::fill(sums.begin(), sums.end(), 0.0);
        std::fill(totals.begin(), totals.end(), 0.0);
        for (int64_t i = 0; i < n; ++i) {
            const double weight = weights[i];
            for (int64_t d = 0; d < D; ++d) {
                const int64_t own = codes[i * D + d];
                totals[own * D + d] += weight;
                for (int64_t x = d * S; x < (d + 1) * S; ++x) sums[own * X + x] += weight * rows[i * X + x];
            }
        }
        for (int64_t k = 0; k < K; ++k)
            for (int64_t x = 0; x < X; ++x)
                if (totals[k * D + x / S] > 0)
                    centroids[k * X + x] = static_cast<float>(sums[k * X + x] / totals[k * D + x / S]);
    }
}

}  // extern "C"
