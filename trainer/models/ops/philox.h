// Philox 4x32-10: 128 random bits of a counter and a key, by integers alone; for the CPU and a GPU.
// Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
#include <cstdint>

#ifdef __CUDACC__
#define ON_DEVICE __device__
#else
#define ON_DEVICE
#endif

namespace philox {

struct Words {
    uint32_t word[4];
};

ON_DEVICE inline Words draw(Words counter, uint32_t key, uint32_t other_key) {
    for (int round = 0; round < 10; round++) {
        const uint64_t even = (uint64_t)0xD2511F53u * counter.word[0], odd = (uint64_t)0xCD9E8D57u * counter.word[2];
        counter = {{(uint32_t)(odd >> 32) ^ counter.word[1] ^ key, (uint32_t)odd,
                    (uint32_t)(even >> 32) ^ counter.word[3] ^ other_key, (uint32_t)even}};
        key += 0x9E3779B9u, other_key += 0xBB67AE85u;
    }
    return counter;
}

}  // namespace philox
