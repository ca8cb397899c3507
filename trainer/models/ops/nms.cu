// Hard non-maximum suppression on a GPU, in the arithmetic of mmcv's CUDA operator.
#include <cstdint>

namespace nms {

constexpr int TILE = 1024;

// A bit for each pair of candidates of which the better one would suppress the other.
__global__ void find_bits(const float* boxes, const int32_t* order, int number, int words, float iou, unsigned* bits) {
    const int64_t first = (int64_t)blockIdx.z * number;
    const int i = blockIdx.x, word = blockIdx.y * blockDim.x + threadIdx.x;
    if (word >= words) return;
    const float* a = boxes + (first + order[first + i]) * 4;
    const float area = (a[2] - a[0]) * (a[3] - a[1]);
    unsigned found = 0;
    for (int j = max(word * 32, i + 1); j < min(word * 32 + 32, number); j++) {
        const float* b = boxes + (first + order[first + j]) * 4;
        const float width = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0.0f);
        const float height = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0.0f);
        const float common = width * height;
        if (common > iou * (area + (b[2] - b[0]) * (b[3] - b[1]) - common)) found |= 1u << (j % 32);
    }
    bits[(first + i) * words + word] = found;
}

// One block of TILE threads per image. All threads take the same way, so that they meet only where a box is kept. That
// takes a candidate at a time; what it has to know of one is in shared memory, TILE of them at a time.
__global__ void walk(const float* scores, const int32_t* order, int number, int words, float least,
                     const unsigned* bits, int most, int32_t* kept, int32_t* count) {
    extern __shared__ unsigned suppressed[];
    __shared__ int32_t candidates[TILE];  // -1: its score is too low
    const int64_t first = (int64_t)blockIdx.x * number;
    kept += (int64_t)blockIdx.x * most;
    for (int word = threadIdx.x; word < words; word += TILE) suppressed[word] = 0;
    int found = 0;
    for (int tile = 0; tile < number && found < most; tile += TILE) {
        __syncthreads();
        if (tile + (int)threadIdx.x < number) {
            const int32_t at = order[first + tile + threadIdx.x];
            candidates[threadIdx.x] = scores[first + at] > least ? at : -1;
        }
        __syncthreads();
        const int end = min(number, tile + TILE);
        for (int i = tile; i < end && found < most; i++) {
            const int32_t at = candidates[i - tile];
            if (at < 0 || (suppressed[i / 32] >> (i % 32) & 1)) continue;
            __syncthreads();
            if (threadIdx.x == 0) kept[found] = at;
            const unsigned* by_this = bits + (first + i) * words;
            for (int word = threadIdx.x; word < words; word += TILE) suppressed[word] |= by_this[word];
            found++;
            __syncthreads();
        }
    }
    for (int k = found + threadIdx.x; k < most; k += TILE) kept[k] = -1;
    if (threadIdx.x == 0) count[blockIdx.x] = found;
}

// boxes (images,number,4), scores, order (images,number) -> kept (images,most), count (images)
// `bits` (images,number,(number+31)/32) is working memory.
inline void suppress(const float* boxes, const float* scores, const int32_t* order, int64_t images, int64_t number,
                     float iou, float least, int64_t most, int32_t* kept, int32_t* count, int32_t* bits) {
    const int words = (number + 31) / 32;
    const dim3 blocks(number, (words + 63) / 64, images);
    find_bits<<<blocks, 64>>>(boxes, order, number, words, iou, (unsigned*)bits);
    walk<<<images, TILE, words * 4>>>(scores, order, number, words, least, (unsigned*)bits, most, kept, count);
}

}  // namespace nms
