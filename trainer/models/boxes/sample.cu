// Random sampling of assigned boxes into a fixed number of slots, on a GPU: one block per image.
#include <cstdint>

namespace sample {

__global__ void fill_slots_of_image(const int32_t* assigned, const int32_t* order, int boxes, int slots, int num,
                                    int most, int32_t* index, float* positive, float* weight, int32_t* truth,
                                    float* positives, float* negatives) {
    __shared__ int available, others;
    const int64_t image = blockIdx.x;
    assigned += image * boxes, order += image * boxes;
    if (threadIdx.x == 0) available = others = 0;
    __syncthreads();
    for (int n = threadIdx.x; n < boxes; n += blockDim.x) {
        if (assigned[n] > 0) atomicAdd(&available, 1);
        if (assigned[n] == 0) atomicAdd(&others, 1);
    }
    __syncthreads();
    const int taken = min(available, most), negative = min(others, num - taken);
    for (int slot = threadIdx.x; slot < slots; slot += blockDim.x) {
        const int64_t at = image * slots + slot;
        index[at] = order[min(slot < taken ? slot : slot - taken + available, boxes - 1)];
        positive[at] = slot < taken;
        weight[at] = slot < taken + negative;
        truth[at] = slot < taken ? assigned[index[at]] - 1 : 0;
    }
    if (threadIdx.x == 0) positives[image] = taken, negatives[image] = negative;
}

// assigned, order (images,boxes), by descending key -> index, positive, weight, truth (images,slots), positives,
// negatives (images); of `num` samples at most `most` are positive.
inline void fill_slots(const int32_t* assigned, const int32_t* order, int64_t images, int64_t boxes, int64_t slots,
                       int64_t num, int64_t most, int32_t* index, float* positive, float* weight, int32_t* truth,
                       float* positives, float* negatives) {
    fill_slots_of_image<<<images, 512>>>(assigned, order, boxes, slots, num, most, index, positive, weight, truth,
                                         positives, negatives);
}

}  // namespace sample
