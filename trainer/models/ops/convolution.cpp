// Convolution with a square kernel by oneDNN, forward and backward, without detours through plain layouts.
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <dnnl.hpp>
#include <unordered_map>
#include <vector>

namespace convolution {

using Tag = dnnl::memory::format_tag;
using Dims = dnnl::memory::dims;

inline dnnl::engine& onednn_engine() {
    static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return engine;
}
inline dnnl::memory::desc described(const Dims& dims, Tag tag) { return {dims, dnnl::memory::data_type::f32, tag}; }
inline dnnl::memory::desc any_of(const Dims& dims) { return described(dims, Tag::any); }
inline dnnl::memory plain(const Dims& dims, Tag tag, const float* data) {
    return dnnl::memory(described(dims, tag), onednn_engine(), (void*)data);
}

// What is convolved: x (B,I,H,W) with w (O,I,k,k) to y (B,O,H',W').
struct Geometry {
    Dims x, w, y, stride, padding, dilation = {0, 0};
    bool product;  // a matrix product per image
    int64_t pixels;
    Geometry(const Dims& x, const Dims& w, const Dims& y, int64_t stride, int64_t padding)
        : x(x), w(w), y(y), stride(2, stride), padding(2, padding),
          product(w[2] == 1 && w[3] == 1 && stride == 1 && padding == 0), pixels(x[2] * x[3]) {}
    dnnl::convolution_forward::primitive_desc forward() const {
        return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, any_of(x), any_of(w),
                 any_of(y), stride, dilation, padding, padding},
                onednn_engine()};
    }
};

// `memory` itself, or a copy in another layout.
inline dnnl::memory in_layout(dnnl::memory memory, const dnnl::memory::desc& layout, dnnl::stream& stream) {
    if (memory.get_desc() == layout) return memory;
    dnnl::memory other(layout, onednn_engine());
    dnnl::reorder(memory, other).execute(stream, memory, other);
    return other;
}

// Maps (groups,number,16) -> (groups·16,number), in tiles that stay in the cache.
inline void out_of_channel_blocks(const float* source, int64_t groups, int64_t number, float* target) {
    const int64_t tile = 64;
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t first = 0; first < number; first += tile) {
            const int64_t last = std::min(first + tile, number);
            for (int64_t c = 0; c < 16; c++) {
                const float* __restrict__ a = source + group * 16 * number + c;
                float* __restrict__ b = target + (group * 16 + c) * number;
                for (int64_t i = first; i < last; i++) b[i] = a[i * 16];
            }
        }
}

// Weights (outputs/16,inputs/16,cells,16 inputs,16 outputs) -> (outputs,inputs,cells)
inline void out_of_weight_blocks(const float* source, int64_t outputs, int64_t inputs, int64_t cells, float* target) {
    const int64_t blocks = inputs / 16;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t block = 0; block < blocks; block++) {
            const float* __restrict__ a = source + (o / 16 * blocks + block) * cells * 256 + o % 16;
            float* __restrict__ b = target + (o * inputs + block * 16) * cells;
            for (int64_t i = 0; i < 16; i++)
                for (int64_t k = 0; k < cells; k++) b[i * cells + k] = a[k * 256 + i * 16];
        }
}

// Out of oneDNN's layout into a plain one; nothing to do where `from` is `to`.
inline void out_of_layout(dnnl::memory from, dnnl::memory to, dnnl::stream& stream) {
    const auto desc = from.get_desc();
    const auto dims = desc.dims();
    const float* source = (const float*)from.get_data_handle();
    float* target = (float*)to.get_data_handle();
    if (source == target) return;
    if (desc == described(dims, Tag::nChw16c) && dims[1] % 16 == 0)
        out_of_channel_blocks(source, dims[0] * dims[1] / 16, dims[2] * dims[3], target);
    else if (desc == described(dims, Tag::OIhw16i16o) && dims[0] % 16 == 0 && dims[1] % 16 == 0)
        out_of_weight_blocks(source, dims[0], dims[1], dims[2] * dims[3], target);
    else
        dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
}

// Where a primitive that gives `layout` may write: `to` itself if that has it.
inline dnnl::memory result_for(dnnl::memory to, const dnnl::memory::desc& layout) {
    return layout == to.get_desc() ? to : dnnl::memory(layout, onednn_engine());
}

// Σ over images of gradient (O,pixels) times x (I,pixels) transposed: every thread adds up its share of the pixels.
inline void sum_of_products(const float* gradient, const float* x, int64_t images, int64_t outputs, int64_t inputs,
                            int64_t pixels, float* to_w) {
    const int64_t size = outputs * inputs, threads = omp_get_max_threads();
    const int64_t chunks = images >= threads ? 1 : (threads + images - 1) / images;
    const int64_t chunk = (pixels + chunks - 1) / chunks;
    std::vector<float> shares(threads * size, 0.0f);
#pragma omp parallel for schedule(static)
    for (int64_t item = 0; item < images * chunks; item++) {
        const int64_t image = item / chunks, first = item % chunks * chunk, count = std::min(chunk, pixels - first);
        if (count <= 0) continue;
        dnnl_sgemm('N', 'T', outputs, inputs, count, 1.0f, gradient + image * outputs * pixels + first, pixels,
                   x + image * inputs * pixels + first, pixels, 1.0f, shares.data() + omp_get_thread_num() * size,
                   inputs);
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < size; i++) {
        float sum = 0;
        for (int64_t thread = 0; thread < threads; thread++) sum += shares[thread * size + i];
        to_w[i] = sum;
    }
}

inline void forward(const Geometry& the, const float* x, const float* w, float* y) {
    const int64_t images = the.x[0], inputs = the.w[1], outputs = the.w[0];
    if (the.product) {
// Several images: a thread for each, in which oneDNN takes no others; one image: oneDNN shares it out.
#pragma omp parallel for schedule(static) if (images > 1)
        for (int64_t image = 0; image < images; image++)
            dnnl_sgemm('N', 'N', outputs, the.pixels, inputs, 1.0f, w, inputs, x + image * inputs * the.pixels,
                       the.pixels, 0.0f, y + image * outputs * the.pixels, the.pixels);
        return;
    }
    dnnl::stream stream(onednn_engine());
    const auto kind = the.forward();
    auto source = in_layout(plain(the.x, Tag::nchw, x), kind.src_desc(), stream);
    auto weights = in_layout(plain(the.w, Tag::oihw, w), kind.weights_desc(), stream);
    auto target = plain(the.y, Tag::nchw, y);
    auto result = result_for(target, kind.dst_desc());
    dnnl::convolution_forward(kind).execute(
        stream, {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, result}});
    out_of_layout(result, target, stream);
    stream.wait();
}

// gradient of y -> to_w, to_x; to_x may be null: x needs no gradient then.
inline void backward(const Geometry& the, const float* gradient, const float* x, const float* w, float* to_w,
                     float* to_x) {
    const int64_t images = the.x[0], inputs = the.w[1], outputs = the.w[0];
    if (the.product) {
        sum_of_products(gradient, x, images, outputs, inputs, the.pixels, to_w);
        if (!to_x) return;
#pragma omp parallel for schedule(static) if (images > 1)
        for (int64_t image = 0; image < images; image++)
            dnnl_sgemm('T', 'N', inputs, the.pixels, outputs, 1.0f, w, inputs, gradient + image * outputs * the.pixels,
                       the.pixels, 0.0f, to_x + image * inputs * the.pixels, the.pixels);
        return;
    }
    dnnl::stream stream(onednn_engine());
    const auto forward = the.forward();
    const dnnl::convolution_backward_weights::primitive_desc kind(
        {dnnl::algorithm::convolution_direct, any_of(the.x), any_of(the.w), any_of(the.y), the.stride, the.dilation,
         the.padding, the.padding},
        onednn_engine(), forward);
    auto blocked = in_layout(plain(the.y, Tag::nchw, gradient), kind.diff_dst_desc(), stream);
    {
        auto source = in_layout(plain(the.x, Tag::nchw, x), kind.src_desc(), stream);
        auto target = plain(the.w, Tag::oihw, to_w);
        auto result = result_for(target, kind.diff_weights_desc());
        dnnl::convolution_backward_weights(kind).execute(
            stream, {{DNNL_ARG_SRC, source}, {DNNL_ARG_DIFF_DST, blocked}, {DNNL_ARG_DIFF_WEIGHTS, result}});
        out_of_layout(result, target, stream);
    }
    if (to_x) {
        const dnnl::convolution_backward_data::primitive_desc kind(
            {dnnl::algorithm::convolution_direct, any_of(the.x), any_of(the.w), any_of(the.y), the.stride, the.dilation,
             the.padding, the.padding},
            onednn_engine(), forward);
        blocked = in_layout(blocked, kind.diff_dst_desc(), stream);
        auto weights = in_layout(plain(the.w, Tag::oihw, w), kind.weights_desc(), stream);
        auto target = plain(the.x, Tag::nchw, to_x);
        auto result = result_for(target, kind.diff_src_desc());
        dnnl::convolution_backward_data(kind).execute(
            stream, {{DNNL_ARG_DIFF_DST, blocked}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_SRC, result}});
        out_of_layout(result, target, stream);
    }
    stream.wait();
}

}  // namespace convolution
