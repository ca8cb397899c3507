// Hard non-maximum suppression on the CPU, in the arithmetic of mmcv's operator to the last bit.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace nms {

struct Boxes {
    std::vector<float> x1, y1, x2, y2, area;
};

// Jittor builds with -Ofast; here every operation is rounded.
#define EXACT __attribute__((noinline, optimize("no-fast-math", "fp-contract=off")))

// Does any of the boxes [from, to) suppress this one?
EXACT static bool suppressed(const float* box, float box_area, const Boxes& kept, int64_t from, int64_t to, float iou) {
    int hits = 0;
    for (int64_t k = from; k < to; k++) {
        const float width = (box[2] < kept.x2[k] ? box[2] : kept.x2[k]) - (box[0] > kept.x1[k] ? box[0] : kept.x1[k]);
        const float height = (box[3] < kept.y2[k] ? box[3] : kept.y2[k]) - (box[1] > kept.y1[k] ? box[1] : kept.y1[k]);
        const float common = (width > 0 ? width : 0) * (height > 0 ? height : 0);
        hits += common / (kept.area[k] + box_area - common) > iou;
    }
    return hits;
}

// One image: boxes (number,4), scores (number), order (number) by descending score -> kept (most), -1 behind the last,
// and how many there are. Only boxes with a score above `least` take part.
inline int64_t keep(const float* boxes, const float* scores, const int32_t* order, int64_t number, float iou,
                    float least, int64_t most, int32_t* kept) {
    Boxes boxes_kept;
    for (auto* column : {&boxes_kept.x1, &boxes_kept.y1, &boxes_kept.x2, &boxes_kept.y2, &boxes_kept.area})
        column->resize(most);
    int64_t count = 0;
    for (int64_t i = 0; i < number && count < most; i++) {
        const int32_t at = order[i];
        if (!(scores[at] > least)) continue;
        const float* b = boxes + (int64_t)at * 4;
        const float area = (b[2] - b[0]) * (b[3] - b[1]);
        bool by_any = false;
        for (int64_t from = 0; from < count && !by_any; from += 64)
            by_any = suppressed(b, area, boxes_kept, from, std::min(from + 64, count), iou);
        if (by_any) continue;
        boxes_kept.x1[count] = b[0], boxes_kept.y1[count] = b[1], boxes_kept.x2[count] = b[2];
        boxes_kept.y2[count] = b[3], boxes_kept.area[count] = area;
        kept[count++] = at;
    }
    std::fill(kept + count, kept + most, -1);
    return count;
}

// boxes (images,number,4), scores, order (images,number) -> kept (images,most), count (images); see `keep`.
// `bits` is working memory of the GPU.
inline void suppress(const float* boxes, const float* scores, const int32_t* order, int64_t images, int64_t number,
                     float iou, float least, int64_t most, int32_t* kept, int32_t* count, int32_t* /*bits*/) {
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t image = 0; image < images; image++)
        count[image] = keep(boxes + image * number * 4, scores + image * number, order + image * number, number, iou,
                            least, most, kept + image * most);
}

}  // namespace nms
