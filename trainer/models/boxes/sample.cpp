// Random sampling of assigned boxes into a fixed number of slots, on the CPU.
#include <algorithm>
#include <cstdint>

namespace sample {

// assigned, order (images,boxes), by descending key -> index, positive, weight, truth (images,slots), positives,
// negatives (images); of `num` samples at most `most` are positive.
inline void fill_slots(const int32_t* assigned, const int32_t* order, int64_t images, int64_t boxes, int64_t slots,
                       int64_t num, int64_t most, int32_t* index, float* positive, float* weight, int32_t* truth,
                       float* positives, float* negatives) {
    for (int64_t image = 0; image < images; image++) {
        const int32_t* of_box = assigned + image * boxes;
        const int64_t available = std::count_if(of_box, of_box + boxes, [](int32_t truth) { return truth > 0; });
        const int64_t taken = std::min(available, most);
        const int64_t others = std::min<int64_t>(std::count(of_box, of_box + boxes, 0), num - taken);
        for (int64_t slot = 0; slot < slots; slot++) {
            const int64_t at = image * slots + slot, rank = slot < taken ? slot : slot - taken + available;
            index[at] = order[image * boxes + std::min(rank, boxes - 1)];
            positive[at] = slot < taken;
            weight[at] = slot < taken + others;
            truth[at] = slot < taken ? of_box[index[at]] - 1 : 0;
        }
        positives[image] = taken;
        negatives[image] = others;
    }
}

}  // namespace sample
