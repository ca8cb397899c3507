// A copy of an array on a GPU.
#include <cstdint>

namespace checkpointing {

inline void copy(const void* from, int64_t bytes, void* to) {
    cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, 0);
}

}  // namespace checkpointing
