"""Convolution with a square kernel; on the CPU straight by oneDNN, without detours.

Jittor writes a convolution as a product of seven-dimensional broadcasts and a sum, finds out anew in each step that
oneDNN has an operator for that, but compiles the unused form as well, for every kernel size and stride.
That operator then spends more time on bringing maps and weights into oneDNN's blocked layout and back than on the
convolution. Here

    1x1, stride 1    is a matrix product per image, which needs no other layout
    others           are oneDNN's; back from blocks of 16 channels it goes in tiles that stay in the cache
    backward         is one operator, which brings the gradient into blocks once

A GPU takes Jittor's own way to cuDNN.
"""

from __future__ import annotations

from trainer.device import jt, nn
from trainer.models.ops.onednn import onednn

HEADER = r"""
#include <algorithm>
#include <dnnl.hpp>
#include <omp.h>
#include <unordered_map>
#include <vector>
namespace jittor {
using Tag = dnnl::memory::format_tag;
using Dims = dnnl::memory::dims;
static dnnl::engine& onednn_engine() { static dnnl::engine engine(dnnl::engine::kind::cpu, 0); return engine; }
static dnnl::memory plain(const Dims& dims, Tag tag, const float* data) {
    return dnnl::memory({dims, dnnl::memory::data_type::f32, tag}, onednn_engine(), (void*)data);
}
static dnnl::memory::desc any_of(const Dims& dims) { return {dims, dnnl::memory::data_type::f32, Tag::any}; }
// `memory` itself, or a copy in another layout.
static dnnl::memory in_layout(dnnl::memory memory, const dnnl::memory::desc& layout, dnnl::stream& stream) {
    if (memory.get_desc() == layout) return memory;
    dnnl::memory other(layout, onednn_engine());
    dnnl::reorder(memory, other).execute(stream, memory, other);
    return other;
}
// Out of oneDNN's layout into a plain one.
static void out_of_layout(dnnl::memory from, dnnl::memory to, dnnl::stream& stream) {
    const auto desc = from.get_desc();
    const auto dims = desc.dims();
    const float* source = (const float*)from.get_data_handle();
    float* target = (float*)to.get_data_handle();
    if (desc == dnnl::memory::desc(dims, dnnl::memory::data_type::f32, Tag::nChw16c) && dims[1] % 16 == 0) {
        const int64 groups = dims[0] * dims[1] / 16, number = dims[2] * dims[3], tile = 64;
        #pragma omp parallel for schedule(static)
        for (int64 group = 0; group < groups; group++)
            for (int64 first = 0; first < number; first += tile) {
                const int64 last = std::min(first + tile, number);
                for (int64 c = 0; c < 16; c++) {
                    const float* __restrict__ a = source + group * 16 * number + c;
                    float* __restrict__ b = target + (group * 16 + c) * number;
                    for (int64 i = first; i < last; i++) b[i] = a[i * 16];
                }
            }
    } else if (desc == dnnl::memory::desc(dims, dnnl::memory::data_type::f32, Tag::OIhw16i16o)
               && dims[0] % 16 == 0 && dims[1] % 16 == 0) {
        const int64 inputs = dims[1], cells = dims[2] * dims[3], blocks = inputs / 16;
        #pragma omp parallel for schedule(static)
        for (int64 o = 0; o < dims[0]; o++)
            for (int64 block = 0; block < blocks; block++) {
                const float* __restrict__ a = source + (o / 16 * blocks + block) * cells * 256 + o % 16;
                float* __restrict__ b = target + (o * inputs + block * 16) * cells;
                for (int64 i = 0; i < 16; i++)
                    for (int64 k = 0; k < cells; k++) b[i * cells + k] = a[k * 256 + i * 16];
            }
    } else if (desc == to.get_desc()) {
        std::copy(source, source + from.get_desc().get_size() / sizeof(float), target);
    } else {
        dnnl::reorder(from, to).execute(stream, from, to);
    }
    stream.wait();
}
// Σ over images of gradient (O,pixels) times x (I,pixels) transposed: every thread adds up its share of the pixels.
static void sum_of_products(const float* gradient, const float* x, int64 images, int64 outputs, int64 inputs,
                            int64 pixels, float* to_w) {
    const int64 size = outputs * inputs, threads = omp_get_max_threads();
    const int64 chunks = images >= threads ? 1 : (threads + images - 1) / images;
    const int64 chunk = (pixels + chunks - 1) / chunks;
    std::vector<float> shares(threads * size, 0.0f);
    #pragma omp parallel for schedule(static)
    for (int64 item = 0; item < images * chunks; item++) {
        const int64 image = item / chunks, first = item % chunks * chunk, count = std::min(chunk, pixels - first);
        if (count <= 0) continue;
        dnnl_sgemm('N', 'T', outputs, inputs, count, 1.0f, gradient + image * outputs * pixels + first, pixels,
                   x + image * inputs * pixels + first, pixels, 1.0f, shares.data() + omp_get_thread_num() * size,
                   inputs);
    }
    #pragma omp parallel for schedule(static)
    for (int64 i = 0; i < size; i++) {
        float sum = 0;
        for (int64 thread = 0; thread < threads; thread++) sum += shares[thread * size + i];
        to_w[i] = sum;
    }
}
struct Convolution {  // of x (B,I,H,W) with w (O,I,k,k) to y
    Dims x, w, y, stride, padding, dilation = {0, 0};
    bool product;  // a matrix product per image
    int64 pixels;
    Convolution(const int64* x_, const int64* w_, const int64* y_, int64 stride_, int64 padding_)
        : x(x_, x_ + 4), w(w_, w_ + 4), y(y_, y_ + 4), stride(2, stride_), padding(2, padding_),
          product(w_[2] == 1 && w_[3] == 1 && stride_ == 1 && padding_ == 0), pixels(x_[2] * x_[3]) {}
    dnnl::convolution_forward::primitive_desc forward() const {
        return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, any_of(x), any_of(w),
                 any_of(y), stride, dilation, padding, padding}, onednn_engine()};
    }
};
} // namespace jittor
"""
# in0 x (B,I,H,W)  in1 weight (O,I,k,k)   out0 y (B,O,H',W')
FORWARD = r"""
    const int64 xs[] = {in0_shape0, in0_shape1, in0_shape2, in0_shape3};
    const int64 ws[] = {in1_shape0, in1_shape1, in1_shape2, in1_shape3};
    const int64 ys[] = {out0_shape0, out0_shape1, out0_shape2, out0_shape3};
    const Convolution the(xs, ws, ys, data["stride"], data["padding"]);
    if (the.product) {
        // Several images: a thread for each, in which oneDNN takes no others; one image: oneDNN shares it out.
        #pragma omp parallel for schedule(static) if (xs[0] > 1)
        for (int64 image = 0; image < xs[0]; image++)
            dnnl_sgemm('N', 'N', ws[0], the.pixels, ws[1], 1.0f, in1_p, ws[1], in0_p + image * xs[1] * the.pixels,
                       the.pixels, 0.0f, out0_p + image * ys[1] * the.pixels, the.pixels);
        return;
    }
    dnnl::stream stream(onednn_engine());
    const auto kind = the.forward();
    auto x = in_layout(plain(the.x, Tag::nchw, in0_p), kind.src_desc(), stream);
    auto w = in_layout(plain(the.w, Tag::oihw, in1_p), kind.weights_desc(), stream);
    auto y = plain(the.y, Tag::nchw, out0_p);
    auto result = kind.dst_desc() == y.get_desc() ? y : dnnl::memory(kind.dst_desc(), onednn_engine());
    dnnl::convolution_forward(kind).execute(
        stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, result}});
    if (kind.dst_desc() != y.get_desc()) out_of_layout(result, y, stream);
    stream.wait();
"""
# in0 gradient of y  in1 x  in2 weight   out0 gradient of the weight  [out1 of x]
BACKWARD = r"""
    const int64 ys[] = {in0_shape0, in0_shape1, in0_shape2, in0_shape3};
    const int64 xs[] = {in1_shape0, in1_shape1, in1_shape2, in1_shape3};
    const int64 ws[] = {in2_shape0, in2_shape1, in2_shape2, in2_shape3};
    const Convolution the(xs, ws, ys, data["stride"], data["padding"]);
    if (the.product) {
        sum_of_products(in0_p, in1_p, xs[0], ws[0], ws[1], the.pixels, out0_p);
        @TO_X_BY_PRODUCT
        return;
    }
    dnnl::stream stream(onednn_engine());
    const auto forward = the.forward();
    const dnnl::convolution_backward_weights::primitive_desc to_w(
        {dnnl::algorithm::convolution_direct, any_of(the.x), any_of(the.w), any_of(the.y), the.stride, the.dilation,
         the.padding, the.padding}, onednn_engine(), forward);
    auto gradient = in_layout(plain(the.y, Tag::nchw, in0_p), to_w.diff_dst_desc(), stream);
    {
        auto x = in_layout(plain(the.x, Tag::nchw, in1_p), to_w.src_desc(), stream);
        auto w = plain(the.w, Tag::oihw, out0_p);
        auto result = to_w.diff_weights_desc() == w.get_desc() ? w
                      : dnnl::memory(to_w.diff_weights_desc(), onednn_engine());
        dnnl::convolution_backward_weights(to_w).execute(
            stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, gradient}, {DNNL_ARG_DIFF_WEIGHTS, result}});
        if (to_w.diff_weights_desc() != w.get_desc()) out_of_layout(result, w, stream);
    }
    @TO_X
    stream.wait();
"""
TO_X_BY_PRODUCT = r"""
        #pragma omp parallel for schedule(static) if (xs[0] > 1)
        for (int64 image = 0; image < xs[0]; image++)
            dnnl_sgemm('T', 'N', ws[1], the.pixels, ws[0], 1.0f, in2_p, ws[1], in0_p + image * ys[1] * the.pixels,
                       the.pixels, 0.0f, out1_p + image * xs[1] * the.pixels, the.pixels);
"""
TO_X = r"""
    const dnnl::convolution_backward_data::primitive_desc to_x(
        {dnnl::algorithm::convolution_direct, any_of(the.x), any_of(the.w), any_of(the.y), the.stride, the.dilation,
         the.padding, the.padding}, onednn_engine(), forward);
    gradient = in_layout(gradient, to_x.diff_dst_desc(), stream);
    auto w = in_layout(plain(the.w, Tag::oihw, in2_p), to_x.weights_desc(), stream);
    auto x = plain(the.x, Tag::nchw, out1_p);
    auto result = to_x.diff_src_desc() == x.get_desc() ? x : dnnl::memory(to_x.diff_src_desc(), onednn_engine());
    dnnl::convolution_backward_data(to_x).execute(
        stream, {{DNNL_ARG_DIFF_DST, gradient}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, result}});
    if (to_x.diff_src_desc() != x.get_desc()) out_of_layout(result, x, stream);
"""


class _Convolution(jt.Function):
    def execute(self, x: jt.Var, weight: jt.Var, stride: int, padding: int) -> jt.Var:
        self.x, self.weight, self.data = x, weight, {"stride": stride, "padding": padding}
        self.differentiates_x = not x.is_stop_grad()
        size = weight.shape[2]
        height, width = ((length + 2 * padding - size) // stride + 1 for length in x.shape[2:])
        shape = (x.shape[0], weight.shape[0], height, width)
        return onednn([shape], [x, weight], HEADER, FORWARD, self.data)[0]

    def grad(self, gradient: jt.Var) -> tuple:
        shapes, parts = [tuple(self.weight.shape)], ("", "")
        if self.differentiates_x:
            shapes.append(tuple(self.x.shape))
            parts = (TO_X_BY_PRODUCT, TO_X)
        source = BACKWARD.replace("@TO_X_BY_PRODUCT", parts[0]).replace("@TO_X", parts[1])
        to_weight, *to_x = onednn(shapes, [gradient, self.x, self.weight], HEADER, source, self.data)
        return to_x[0] if to_x else None, to_weight, None, None


def convolve(x: jt.Var, weight: jt.Var, bias: jt.Var | None = None, stride: int = 1, padding: int = 0) -> jt.Var:
    """x f32 (B,I,H,W), weight f32 (O,I,k,k), bias f32 (O,) -> f32 (B,O,H',W')."""
    if jt.flags.use_cuda:
        return nn.conv2d(x, weight, bias, stride, padding)
    y = _Convolution.apply(x, weight, stride, padding)
    return y if bias is None else y + bias.broadcast(y, [0, 2, 3])
