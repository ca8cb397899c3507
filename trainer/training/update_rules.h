// How the optimizers move one number of a parameter, and the table of all parameters; for the CPU and a GPU.
#include <cmath>
#include <cstdint>

#include "finite.h"

namespace update {

// A parameter: what is read and what is written, in the order of the module's text.
struct Row {
    int64_t number;
    const float* old[5];
    float* now[4];
};

// What an update has to know of gradients of a scaled loss (loss_scale.h).
struct Scaled {
    float scale, first, second, updates;
};

// A gradient as it is clipped: by the norm of all, by each number's own size. NaN stays NaN.
struct Clip {
    float factor, limit;
    bool skips;  // nothing is to be updated

    ON_DEVICE float operator()(float gradient) const {
        const float scaled = gradient * factor;
        return scaled > limit ? limit : scaled < -limit ? -limit : scaled;
    }
};

// By the norm of the gradients; `scaled`, where the loss was, by which they still are.
ON_DEVICE inline Clip clip_by(float norm, const float* scaled, float max_norm, float limit) {
    const float factor = max_norm / (norm + 1e-6f), least = 1.0f < factor ? 1.0f : factor;
    return scaled ? Clip{least / *scaled, limit, !is_finite(norm)} : Clip{least, limit, false};
}

// A number of a parameter and of its buffers stays what it was.
ON_DEVICE inline void leave(const Row& row, int64_t i) {
    row.now[0][i] = row.old[0][i];
    for (int k = 1; k < 4 && row.now[k]; k++) row.now[k][i] = row.old[k + 1][i];
}

struct SGD {
    float rate, decay, momentum, dampening, nesterov;

    // The first update is not dampened.
    ON_DEVICE void follow(const Scaled& scaled) {
        if (scaled.updates == 0) dampening = 0;
    }

    ON_DEVICE void operator()(const Row& row, int64_t i, const Clip clip) const {
        const float slope = clip(row.old[1][i]) + decay * row.old[0][i];
        const float momentum_now = momentum * row.old[2][i] + (1 - dampening) * slope;
        row.now[1][i] = momentum != 0 ? momentum_now : row.old[2][i];  // torch's is left alone
        row.now[0][i] = row.old[0][i] - rate * (nesterov != 0 ? slope + momentum * momentum_now : momentum_now);
    }
};

// The moments of Adam's rules; returns the second.
template <typename Rule>
ON_DEVICE float moments(const Rule& rule, const Row& row, int64_t i, const Clip clip) {
    const float slope = clip(row.old[1][i]) + rule.decay * row.old[0][i];
    const float second = rule.beta2 * row.old[3][i] + (1 - rule.beta2) * slope * slope;
    row.now[1][i] = rule.beta1 * row.old[2][i] + (1 - rule.beta1) * slope;
    row.now[2][i] = second;
    return second;
}

// The corrections of Adam's moments, which have begun at 0.
template <typename Rule>
ON_DEVICE void correct(Rule& rule, const Scaled& scaled) {
    rule.step /= scaled.first;
    rule.root *= scaled.second;
}

// AdamW decays by `shrink`, Adam by `decay`; the other is 1 or 0.
struct AdamW {
    float shrink, decay, step, root, eps, beta1, beta2;

    ON_DEVICE void follow(const Scaled& scaled) { correct(*this, scaled); }

    ON_DEVICE void operator()(const Row& row, int64_t i, const Clip clip) const {
        const float second = moments(*this, row, i, clip);
        row.now[0][i] = row.old[0][i] * shrink - step * row.now[1][i] / (sqrtf(second) / root + eps);
    }
};

// By the largest second moment so far.
struct AMSGrad {
    float shrink, decay, step, root, eps, beta1, beta2;

    ON_DEVICE void follow(const Scaled& scaled) { correct(*this, scaled); }

    ON_DEVICE void operator()(const Row& row, int64_t i, const Clip clip) const {
        const float second = moments(*this, row, i, clip);
        const float most = second < row.old[4][i] ? row.old[4][i] : second;
        row.now[3][i] = most;
        row.now[0][i] = row.old[0][i] * shrink - step * row.now[1][i] / (sqrtf(most) / root + eps);
    }
};

// Norms: a number is added to a sum, sums of parts are joined, and the root of the whole is the norm.
struct TwoNorm {
    using Total = double;
    ON_DEVICE float with(float sum, float x) const { return sum + x * x; }
    ON_DEVICE double joined(double one, double other) const { return one + other; }
    ON_DEVICE float root(double total) const { return sqrt(total); }
};

struct AnyNorm {
    using Total = double;
    float power;
    ON_DEVICE float with(float sum, float x) const { return sum + powf(fabsf(x), power); }
    ON_DEVICE double joined(double one, double other) const { return one + other; }
    ON_DEVICE float root(double total) const { return pow(total, 1.0 / power); }
};

// The largest, NaN above all: without a sign floats are ordered as their bits are.
struct MostNorm {
    using Total = float;
    ON_DEVICE float with(float sum, float x) const { return joined(sum, fabsf(x)); }
    ON_DEVICE float joined(float one, float other) const { return bits_of(one) < bits_of(other) ? other : one; }
    ON_DEVICE float root(float total) const { return total; }
};

// A moving average: the weights are what is read second. As torch.lerp, exact at both ends.
struct Average {
    float share;

    ON_DEVICE void follow(const Scaled&) {}

    ON_DEVICE void operator()(const Row& row, int64_t i, const Clip) const {
        const float average = row.old[0][i], weight = row.old[1][i];
        row.now[0][i] = share < 0.5f ? average + share * (weight - average) : weight - (weight - average) * (1 - share);
    }
};

}  // namespace update
