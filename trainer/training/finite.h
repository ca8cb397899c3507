// Whether a number is one: by its bits, for compilers are told that all are.
#ifndef TRAINER_TRAINING_FINITE_H
#define TRAINER_TRAINING_FINITE_H
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define ON_DEVICE __device__
#else
#define ON_DEVICE
#endif

ON_DEVICE inline uint32_t bits_of(float x) {
    uint32_t found;
    memcpy(&found, &x, sizeof found);
    return found;
}

ON_DEVICE inline bool is_finite(float x) { return (bits_of(x) & 0x7f800000u) != 0x7f800000u; }

#endif
