// A copy of an array on the CPU.
#include <cstdint>
#include <cstring>

namespace checkpointing {

inline void copy(const float* from, int64_t bytes, float* to) { std::memcpy(to, from, bytes); }

}  // namespace checkpointing
