// All anchors of a batch, on a GPU: a thread for each anchor, a launch for each level.
#include <cstdint>
#include <string>

namespace anchors {

__global__ void of_level(const float* base, const float* image_shapes, int64_t first, int64_t all, int64_t number,
                         int64_t width, float stride, int64_t ratios, int64_t images, float* boxes, bool* inside) {
    const int64_t n = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (n >= number) return;
    const float x = n / ratios % width * stride, y = n / ratios / width * stride;
    base += n % ratios * 4;
    float* box = boxes + (first + n) * 4;
    box[0] = base[0] + x, box[1] = base[1] + y, box[2] = base[2] + x, box[3] = base[3] + y;
    for (int64_t image = 0; image < images; image++) {
        const float bottom = image_shapes[image * 2], right = image_shapes[image * 2 + 1];
        inside[image * all + first + n] = min(box[0], box[2]) >= 0 && min(box[1], box[3]) >= 0 &&
                                          max(box[0], box[2]) < right && max(box[1], box[3]) < bottom;
    }
}

// base (levels,ratios,4), image_shapes (images,2) height, width -> boxes (all,4), inside (images,all)
// `numbers`: height0, width0, stride0, height1, ... of each level.
template <typename Numbers>
void make(const float* base, int64_t levels, int64_t ratios, const float* image_shapes, int64_t images, int64_t all,
          Numbers& numbers, float* boxes, bool* inside) {
    int64_t first = 0;
    for (int64_t level = 0; level < levels; level++) {
        const std::string text = std::to_string(level);
        const int64_t width = numbers["width" + text], number = numbers["height" + text] * width * ratios;
        if (number == 0) continue;
        of_level<<<(number + 255) / 256, 256>>>(base + level * ratios * 4, image_shapes, first, all, number, width,
                                                numbers["stride" + text], ratios, images, boxes, inside);
        first += number;
    }
}

}  // namespace anchors
