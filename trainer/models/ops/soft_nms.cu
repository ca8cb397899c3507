// Suppression within every class of one image at once, on a GPU.
#include <cstdint>

namespace soft_nms {

typedef unsigned long long Key;  // a score's bits in the order of floats, then the inverted pair; 0 for nothing

__device__ inline Key key_of(float score, unsigned pair) {
    const unsigned bits = __float_as_uint(score);
    return (Key)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | ~pair;
}

__device__ inline float score_of(Key key) {
    const unsigned bits = key >> 32;
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__device__ inline Key largest_of_block(Key own) {
    __shared__ Key of_warp[32];
    for (int step = 16; step; step /= 2) own = max(own, __shfl_down_sync(~0u, own, step));
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = own;
    __syncthreads();
    own = of_warp[0];
    for (int warp = 1; warp < blockDim.x / 32; warp++) own = max(own, of_warp[warp]);
    return own;
}

// One block per class: its candidates' scores side by side, NaN for what is none, and the best of them.
__global__ void find_candidates(const float* boxes, const float* scores, int number, int classes, float threshold,
                                float* live, Key* best, int32_t* total, float* reach) {
    const int c = blockIdx.x;
    Key own = 0;
    int found = 0;
    float farthest = 0;
    for (int n = threadIdx.x; n < number; n += blockDim.x) {
        const float score = scores[(int64_t)n * classes + c];
        const bool candidate = score > threshold;
        live[(int64_t)c * number + n] = candidate ? score : __int_as_float(0x7fffffff);
        if (!candidate) continue;
        own = max(own, key_of(score, n * classes + c));
        found++;
        const float* box = boxes + (int64_t)n * 4;
        farthest = fmaxf(farthest, fmaxf(fmaxf(box[0], box[1]), fmaxf(box[2], box[3])));
    }
    if (found) atomicAdd(total, found);
    // Coordinates are not negative, and the bits of such floats are ordered like integers.
    if (found) atomicMax((int*)reach, __float_as_int(farthest));
    own = largest_of_block(own);
    if (threadIdx.x == 0) best[c] = own;
}

// One block: the best class's best candidate is picked, and its class is weakened, again and again.
__global__ void pick_best(const float* boxes, int number, int classes, bool soft, float iou, float sigma, float least,
                          float split, float* live, Key* best, const int32_t* total, const float* reach, int most,
                          int32_t* rows, int32_t* labels, float* picks, int32_t* count) {
    const bool together = soft && *total < split;
    int picked = 0;
    for (; picked < most; picked++) {
        Key own = 0;
        for (int c = threadIdx.x; c < classes; c += blockDim.x) own = max(own, best[c]);
        const Key next = largest_of_block(own);
        const float score = score_of(next);
        if (!next || (together && picked && score < least)) break;
        const unsigned pair = ~(unsigned)next;
        const int row = pair / classes, c = pair % classes;
        if (threadIdx.x == 0) rows[picked] = row, labels[picked] = c, picks[picked] = score;
        // Rounded like mmcv's: one multiplication, one addition per corner.
        const float shift = __fmul_rn(c, __fadd_rn(*reach, 1.0f));
        const float* a = boxes + (int64_t)row * 4;
        const float left = __fadd_rn(a[0], shift), top = __fadd_rn(a[1], shift);
        const float right = __fadd_rn(a[2], shift), bottom = __fadd_rn(a[3], shift);
        const float area = (right - left) * (bottom - top);
        float* of_class = live + (int64_t)c * number;
        own = 0;
        for (int n = threadIdx.x; n < number; n += blockDim.x) {
            if ((__float_as_uint(of_class[n]) << 1) > 0xff000000u) continue;  // NaN
            const float* b = boxes + (int64_t)n * 4;
            const float x1 = __fadd_rn(b[0], shift), y1 = __fadd_rn(b[1], shift);
            const float x2 = __fadd_rn(b[2], shift), y2 = __fadd_rn(b[3], shift);
            const float width = fmaxf(fminf(right, x2) - fmaxf(left, x1), 0.0f);
            const float height = fmaxf(fminf(bottom, y2) - fmaxf(top, y1), 0.0f);
            const float common = width * height, all = area + (x2 - x1) * (y2 - y1) - common;
            const float overlap = common > 0 ? common / all : 0.0f;
            const float weaker = soft ? of_class[n] * expf(-(overlap * overlap) / sigma) : of_class[n];
            const bool dropped = n == row || (soft ? weaker < least : common > iou * all);
            of_class[n] = dropped ? __int_as_float(0x7fffffff) : weaker;
            if (!dropped) own = max(own, key_of(weaker, n * classes + c));
        }
        own = largest_of_block(own);
        if (threadIdx.x == 0) best[c] = own;
        __syncthreads();
    }
    for (int k = picked + threadIdx.x; k < most; k += blockDim.x) rows[k] = labels[k] = -1, picks[k] = 0;
    if (threadIdx.x == 0) *count = picked;
}

// boxes (number,4), scores (number,classes) -> rows, labels, picks (most), count (1); the numbers are those of the
// module's text: a score above `threshold` makes a candidate, `split` is split_threshold, `least` min_score.
// Working memory: `live` (classes,number) scores by class, `best` (classes,2) the best candidate of each class,
// `totals` (2) the number of candidates and the largest coordinate.
inline void pick(const float* boxes, const float* scores, int64_t number, int64_t classes, float threshold, bool soft,
                 float iou, float sigma, float least, float split, int64_t most, int32_t* rows, int32_t* labels,
                 float* picks, int32_t* count, float* live, int32_t* best, int32_t* totals) {
    float* reach = (float*)totals + 1;
    cudaMemsetAsync(totals, 0, 2 * sizeof(int32_t), 0);
    find_candidates<<<classes, 256>>>(boxes, scores, number, classes, threshold, live, (Key*)best, totals, reach);
    pick_best<<<1, 1024>>>(boxes, number, classes, soft, iou, sigma, least, split, live, (Key*)best, totals, reach,
                           most, rows, labels, picks, count);
}

}  // namespace soft_nms
