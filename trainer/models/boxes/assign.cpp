// Max-IoU assignment on the CPU; every IoU to the last bit that of torch.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace assign {

// Jittor builds with -Ofast, which divides approximately and fuses products with sums.
#define EXACT __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))

EXACT static void measure_areas(const float* boxes, int64_t number, float* areas) {
    for (int64_t n = 0; n < number; n++)
        areas[n] = (boxes[n * 4 + 2] - boxes[n * 4]) * (boxes[n * 4 + 3] - boxes[n * 4 + 1]);
}

EXACT static void measure_overlaps(const float* boxes, const float* areas, int64_t number, const float* truth,
                                   float* iou) {
    const float left = truth[0], top = truth[1], right = truth[2], bottom = truth[3];
    const float area = (right - left) * (bottom - top);
    for (int64_t n = 0; n < number; n++) {
        const float* b = boxes + n * 4;
        const float width = (b[2] < right ? b[2] : right) - (b[0] > left ? b[0] : left);
        const float height = (b[3] < bottom ? b[3] : bottom) - (b[1] > top ? b[1] : top);
        const float common = (width > 0 ? width : 0) * (height > 0 ? height : 0);
        const float all = area + areas[n] - common;
        iou[n] = common / (all > 1e-6f ? all : 1e-6f);
    }
}

struct Rules {
    float positive, negative, least;  // IoUs: of a positive, below which a box is negative, of rule 4
    bool low_quality;                 // whether there is rule 4
    Rules(float positive, float negative, float least, bool low_quality)
        : positive(positive), negative(negative), least(least), low_quality(low_quality) {}
};

// One image: boxes (number,4), valid (number), truths (count,4) -> assigned (number), best_of_truth (count)
inline void assign_image(const float* boxes, const bool* valid, int64_t number, const float* truths, int64_t count,
                         const Rules& rules, int32_t* assigned, float* best_of_truth) {
    std::vector<float> iou(count * number), best(number, 0.0f), areas(number);
    std::vector<int32_t> owner(number, 0);
    measure_areas(boxes, number, areas.data());
    for (int64_t g = 0; g < count; g++) {
        float* row = iou.data() + g * number;
        measure_overlaps(boxes, areas.data(), number, truths + g * 4, row);
        float highest = 0;
        for (int64_t n = 0; n < number; n++) {
            if (!valid[n]) row[n] = -1.0f;
            highest = std::max(highest, row[n]);
        }
        best_of_truth[g] = highest;
        for (int64_t n = 0; n < number; n++)
            if (row[n] > best[n]) {
                best[n] = row[n];
                owner[n] = g;
            }
    }
    for (int64_t n = 0; n < number; n++)
        assigned[n] = !valid[n]                            ? -1
                      : count && best[n] >= rules.positive ? owner[n] + 1
                      : best[n] < rules.negative           ? 0
                                                           : -1;
    if (!rules.low_quality) return;
    for (int64_t g = 0; g < count; g++) {
        if (best_of_truth[g] < rules.least) continue;
        const float* row = iou.data() + g * number;
        for (int64_t n = 0; n < number; n++)
            if (row[n] == best_of_truth[g]) assigned[n] = g + 1;
    }
}

// boxes (images,number,4), or (1,number,4) where all images share them; valid (images,number); truths (images,slots,4),
// of which `counts` (images) count -> assigned (images,number), best_of_truth (images,slots)
inline void by_iou(const float* boxes, bool shared, const bool* valid, const float* truths, const int32_t* counts,
                   int64_t images, int64_t number, int64_t slots, Rules rules, int32_t* assigned,
                   float* best_of_truth) {
    std::fill(best_of_truth, best_of_truth + images * slots, 0.0f);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t image = 0; image < images; image++)
        assign_image(boxes + (shared ? 0 : image * number * 4), valid + image * number, number,
                     truths + image * slots * 4, counts[image], rules, assigned + image * number,
                     best_of_truth + image * slots);
}

}  // namespace assign
