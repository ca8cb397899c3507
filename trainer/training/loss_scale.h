// How the scale of the loss follows the gradients, one thread's work; for the CPU and a GPU.
#include <cmath>

#include "finite.h"

namespace loss_scale {

struct Rules {
    float growth, backoff, interval;
    double beta1, beta2;
};

// state (3): the scale, how many updates in a row it has allowed, how many updates there were -> now (3)
// norm of the scaled gradients -> measured, that of the gradients
// facts (4) of the update that follows: Scaled in update_rules.h
ON_DEVICE inline void step(const float* norm, const float* state, const Rules rules, float* now, float* facts,
                           float* measured) {
    const float scale = state[0], streak = state[1] + 1, updates = state[2];
    const bool finite = is_finite(*norm), grows = finite && streak == rules.interval;
    const float grown = scale * rules.growth;
    now[0] = !finite ? scale * rules.backoff : grows && is_finite(grown) ? grown : scale;
    now[1] = finite && !grows ? streak : 0;
    now[2] = finite ? updates + 1 : updates;
    facts[0] = scale;
    facts[1] = 1 - pow(rules.beta1, (double)updates + 1);
    facts[2] = sqrt(1 - pow(rules.beta2, (double)updates + 1));
    facts[3] = updates;
    *measured = *norm / scale;
}

}  // namespace loss_scale
