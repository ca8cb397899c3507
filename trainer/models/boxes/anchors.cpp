// All anchors of a batch, on the CPU.
#include <cstdint>
#include <string>

namespace anchors {

// base (levels,ratios,4), image_shapes (images,2) height, width -> boxes (all,4), inside (images,all)
// `numbers`: height0, width0, stride0, height1, ... of each level.
template <typename Numbers>
void make(const float* base, int64_t levels, int64_t ratios, const float* image_shapes, int64_t images, int64_t all,
          Numbers& numbers, float* boxes, bool* inside) {
    int64_t first = 0;
    for (int64_t level = 0; level < levels; level++) {
        const std::string number = std::to_string(level);
        const int64_t height = numbers["height" + number], width = numbers["width" + number];
        const float stride = numbers["stride" + number];
#pragma omp parallel for
        for (int64_t cell = 0; cell < height * width; cell++) {
            const float x = cell % width * stride, y = cell / width * stride;
            for (int64_t ratio = 0; ratio < ratios; ratio++) {
                const float* origin = base + (level * ratios + ratio) * 4;
                const int64_t at = first + cell * ratios + ratio;
                float* box = boxes + at * 4;
                box[0] = origin[0] + x, box[1] = origin[1] + y, box[2] = origin[2] + x, box[3] = origin[3] + y;
                for (int64_t image = 0; image < images; image++) {
                    const float bottom = image_shapes[image * 2], right = image_shapes[image * 2 + 1];
                    inside[image * all + at] = box[0] >= 0 && box[1] >= 0 && box[2] >= 0 && box[3] >= 0 &&
                                               box[0] < right && box[2] < right && box[1] < bottom && box[3] < bottom;
                }
            }
        }
        first += height * width * ratios;
    }
}

}  // namespace anchors
