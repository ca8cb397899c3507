// A copy of an array on a GPU.
#include <cstdint>

namespace checkpointing {

inline void copy(const float* from, int64_t bytes, float* to) {
    cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, 0);
}

}  // namespace checkpointing
