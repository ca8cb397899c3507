// How the optimizers move one number of a parameter, and the table of all parameters; for the CPU and a GPU.
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define ON_DEVICE __device__
#else
#define ON_DEVICE
#endif

namespace update {

// A parameter: what is read and what is written, in the order of the module's text.
struct Row {
    int64_t number;
    const float* old[4];
    float* now[3];
};

struct SGD {
    float rate, decay, momentum, nesterov;

    ON_DEVICE void operator()(const Row& row, int64_t i, float factor) const {
        const float slope = row.old[1][i] * factor + decay * row.old[0][i];
        const float momentum_now = momentum * row.old[2][i] + slope;
        row.now[1][i] = momentum_now;
        row.now[0][i] = row.old[0][i] - rate * (nesterov != 0 ? slope + momentum * momentum_now : momentum_now);
    }
};

struct AdamW {
    float shrink, step, root, eps, beta1, beta2;

    ON_DEVICE void operator()(const Row& row, int64_t i, float factor) const {
        const float slope = row.old[1][i] * factor;
        const float first = beta1 * row.old[2][i] + (1 - beta1) * slope;
        const float second = beta2 * row.old[3][i] + (1 - beta2) * slope * slope;
        row.now[1][i] = first;
        row.now[2][i] = second;
        row.now[0][i] = row.old[0][i] * shrink - step * first / (sqrtf(second) / root + eps);
    }
};

// A moving average: the weights are what is read second. As torch.lerp, exact at both ends.
struct Average {
    float share;

    ON_DEVICE void operator()(const Row& row, int64_t i, float) const {
        const float average = row.old[0][i], weight = row.old[1][i];
        row.now[0][i] = share < 0.5f ? average + share * (weight - average) : weight - (weight - average) * (1 - share);
    }
};

}  // namespace update
