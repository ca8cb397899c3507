// Max-IoU assignment on a GPU: a thread for each box; every IoU to the last bit that of torch.
#include <cstdint>

namespace assign {

__device__ inline float overlap(const float* a, const float* b) {
    const float width = fmaxf(__fsub_rn(fminf(a[2], b[2]), fmaxf(a[0], b[0])), 0.0f);
    const float height = fmaxf(__fsub_rn(fminf(a[3], b[3]), fmaxf(a[1], b[1])), 0.0f);
    const float common = __fmul_rn(width, height);
    const float area_a = __fmul_rn(__fsub_rn(a[2], a[0]), __fsub_rn(a[3], a[1]));
    const float area_b = __fmul_rn(__fsub_rn(b[2], b[0]), __fsub_rn(b[3], b[1]));
    return __fdiv_rn(common, fmaxf(__fsub_rn(__fadd_rn(area_a, area_b), common), 1e-6f));
}

struct Rules {
    float positive, negative, least;  // IoUs: of a positive, below which a box is negative, of rule 4
    bool low_quality;                 // whether there is rule 4
    Rules(float positive, float negative, float least, bool low_quality)
        : positive(positive), negative(negative), least(least), low_quality(low_quality) {}
};

__global__ void by_box(const float* boxes, int64_t box_stride, const bool* valid, const float* truths,
                       const int32_t* counts, int32_t* assigned, float* best_of_truth, int64_t number, int64_t slots,
                       float positive, float negative) {
    const int64_t image = blockIdx.y, n = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (n >= number) return;
    if (!valid[image * number + n]) {
        assigned[image * number + n] = -1;
        return;
    }
    const float* box = boxes + image * box_stride + n * 4;
    float best = 0;
    int32_t owner = 0;
    for (int64_t g = 0; g < counts[image]; g++) {
        const float iou = overlap(box, truths + (image * slots + g) * 4);
        if (iou > best) {
            best = iou;
            owner = g;
        }
        // IoUs are not negative, and the bits of such floats are ordered like integers.
        float* shared_best = best_of_truth + image * slots + g;
        if (iou > *shared_best) atomicMax((int*)shared_best, __float_as_int(iou));
    }
    assigned[image * number + n] = counts[image] && best >= positive ? owner + 1 : best < negative ? 0 : -1;
}

__global__ void by_truth(const float* boxes, int64_t box_stride, const bool* valid, const float* truths,
                         const int32_t* counts, int32_t* assigned, const float* best_of_truth, int64_t number,
                         int64_t slots, float least) {
    const int64_t image = blockIdx.y, n = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (n >= number || !valid[image * number + n]) return;
    for (int64_t g = 0; g < counts[image]; g++) {
        const float best = best_of_truth[image * slots + g];
        if (best >= least && overlap(boxes + image * box_stride + n * 4, truths + (image * slots + g) * 4) == best)
            assigned[image * number + n] = g + 1;
    }
}

// boxes (images,number,4), or (1,number,4) where all images share them; valid (images,number); truths (images,slots,4),
// of which `counts` (images) count -> assigned (images,number), best_of_truth (images,slots)
inline void by_iou(const float* boxes, bool shared, const bool* valid, const float* truths, const int32_t* counts,
                   int64_t images, int64_t number, int64_t slots, Rules rules, int32_t* assigned,
                   float* best_of_truth) {
    const int64_t box_stride = shared ? 0 : number * 4;
    const dim3 blocks((number + 255) / 256, images);
    cudaMemsetAsync(best_of_truth, 0, images * slots * sizeof(float), 0);
    by_box<<<blocks, 256>>>(boxes, box_stride, valid, truths, counts, assigned, best_of_truth, number, slots,
                            rules.positive, rules.negative);
    if (rules.low_quality)
        by_truth<<<blocks, 256>>>(boxes, box_stride, valid, truths, counts, assigned, best_of_truth, number, slots,
                                  rules.least);
}

}  // namespace assign
