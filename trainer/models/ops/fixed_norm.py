"""Batch norm with fixed statistics, an addition and a ReLU behind it, in one pass over the map each way.

    y = (x - mean) · weight / sqrt(var + eps) + bias  [ + shortcut ]  [ , not below 0 ]

Written with Jittor's own operators this is another kernel for nearly every place in a network (what is fused with what
depends on the neighbours), and each runs in one thread. NaN stays NaN, which hides no broken weights.
"""

from __future__ import annotations

from trainer.device import jt

# in0 x (B,C,H,W)  in1 weight (C)  in2 bias  in3 mean  in4 variance  [in5 shortcut (B,C,H,W)]   out0 y
HEADER = r"""
#include <cmath>
namespace jittor {
// Compilers may take "no NaN here" for granted under -Ofast; these loops may not.
__attribute__((noinline, optimize("no-finite-math-only")))
static void norm_plane(const float* __restrict__ x, const float* __restrict__ more, float scale, float shift,
                       bool relu, int64 number, float* __restrict__ y) {
    if (more && relu)
        for (int64 i = 0; i < number; i++) {
            const float value = x[i] * scale + shift + more[i];
            y[i] = value < 0 ? 0 : value;
        }
    else if (more) for (int64 i = 0; i < number; i++) y[i] = x[i] * scale + shift + more[i];
    else if (relu)
        for (int64 i = 0; i < number; i++) {
            const float value = x[i] * scale + shift;
            y[i] = value < 0 ? 0 : value;
        }
    else for (int64 i = 0; i < number; i++) y[i] = x[i] * scale + shift;
}
} // namespace jittor
"""
CPU_FORWARD = r"""
    const int64 channels = in0_shape1, number = in0_shape2 * in0_shape3, planes = in0_shape0 * channels;
    const float eps = data["eps"];
    const bool relu = data["relu"] != 0;
    #pragma omp parallel for schedule(static)
    for (int64 plane = 0; plane < planes; plane++) {
        const int64 c = plane % channels;
        const float scale = in1_p[c] / std::sqrt(in4_p[c] + eps), shift = in2_p[c] - in3_p[c] * scale;
        norm_plane(in0_p + plane * number, @SHORTCUT, scale, shift, relu, number, out0_p + plane * number);
    }
"""
# in0 gradient of y  in1 x  in2 y  in3 weight  in4 mean  in5 variance
# out0 gradient of x  out1 of weight  out2 of bias  [out3 of shortcut]
CPU_BACKWARD = r"""
    const int64 images = in0_shape0, channels = in0_shape1, number = in0_shape2 * in0_shape3;
    const float eps = data["eps"];
    const bool relu = data["relu"] != 0;
    #pragma omp parallel for schedule(static)
    for (int64 c = 0; c < channels; c++) {
        const float inverse = 1 / std::sqrt(in5_p[c] + eps), scale = in3_p[c] * inverse, mean = in4_p[c];
        double product = 0, total = 0;
        for (int64 image = 0; image < images; image++) {
            const int64 first = (image * channels + c) * number;
            const float* __restrict__ gradient = in0_p + first, *__restrict__ x = in1_p + first;
            const float* __restrict__ y = in2_p + first;
            float* __restrict__ to_x = out0_p + first;
            float plane_product = 0, plane_total = 0;
            for (int64 i = 0; i < number; i++) {
                const float g = !relu || y[i] > 0 ? gradient[i] : 0;
                plane_product += g * (x[i] - mean);
                plane_total += g;
                to_x[i] = g * scale;
                @TO_SHORTCUT
            }
            product += plane_product, total += plane_total;
        }
        out1_p[c] = product * inverse, out2_p[c] = total;
    }
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void norm_forward(const float* x, const float* weight, const float* bias, const float* mean,
                             const float* variance, const float* more, float eps, int relu, int64 all, int64 channels,
                             int64 number, float* y) {
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < all; i += (int64)blockDim.x * gridDim.x) {
        const int64 c = i / number % channels;
        const float scale = weight[c] / sqrtf(variance[c] + eps);
        float value = x[i] * scale + (bias[c] - mean[c] * scale);
        if (more) value += more[i];
        y[i] = relu && value < 0 ? 0 : value;
    }
}
// One block per channel.
__global__ void norm_backward(const float* gradient, const float* x, const float* y, const float* weight,
                              const float* mean, const float* variance, float eps, int relu, int64 images,
                              int64 channels, int64 number, float* to_x, float* to_weight, float* to_bias,
                              float* to_more) {
    __shared__ float products[256];
    __shared__ float totals[256];
    const int64 c = blockIdx.x;
    const float inverse = 1 / sqrtf(variance[c] + eps);
    float product = 0, total = 0;
    for (int64 k = threadIdx.x; k < images * number; k += 256) {
        const int64 i = (k / number * channels + c) * number + k % number;
        const float g = !relu || y[i] > 0 ? gradient[i] : 0;
        product += g * (x[i] - mean[c]);
        total += g;
        to_x[i] = g * weight[c] * inverse;
        if (to_more) to_more[i] = g;
    }
    products[threadIdx.x] = product, totals[threadIdx.x] = total;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            products[threadIdx.x] += products[threadIdx.x + half];
            totals[threadIdx.x] += totals[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) to_weight[c] = products[0] * inverse, to_bias[c] = totals[0];
}
} // namespace jittor
"""
CUDA_FORWARD = r"""
    const int64 all = in0->num;
    if (all) norm_forward<<<(int)std::min<int64>((all + 255) / 256, 1 << 16), 256>>>(
        in0_p, in1_p, in2_p, in3_p, in4_p, @SHORTCUT, data["eps"], data["relu"] != 0, all, in0_shape1,
        in0_shape2 * in0_shape3, out0_p);
"""
CUDA_BACKWARD = r"""
    norm_backward<<<in0_shape1, 256>>>(in0_p, in1_p, in2_p, in3_p, in4_p, in5_p, data["eps"], data["relu"] != 0,
        in0_shape0, in0_shape1, in0_shape2 * in0_shape3, out0_p, out1_p, out2_p, @SHORTCUT);
"""


class _FixedNorm(jt.Function):
    def execute(
        self,
        x: jt.Var,
        weight: jt.Var,
        bias: jt.Var,
        mean: jt.Var,
        variance: jt.Var,
        shortcut: jt.Var | None,
        eps: float,
        with_relu: bool,
    ) -> jt.Var:
        inputs = [x, weight, bias, mean, variance, *([] if shortcut is None else [shortcut])]
        self.adds = shortcut is not None
        self.data = {"eps": eps, "relu": float(with_relu)}
        pointer = "in5_p" if self.adds else "nullptr"
        y = jt.code(
            x.shape,
            "float32",
            inputs,
            cpu_header=HEADER,
            cpu_src=CPU_FORWARD.replace("@SHORTCUT", f"{pointer} + plane * number" if self.adds else pointer),
            cuda_header=CUDA_HEADER,
            cuda_src=CUDA_FORWARD.replace("@SHORTCUT", pointer),
            data=self.data,
        )
        self.saved = [x, y if with_relu else x, weight, mean, variance]
        return y

    def grad(self, gradient: jt.Var) -> tuple:
        x, _, weight, *_ = self.saved
        shapes = [tuple(x.shape), tuple(weight.shape), tuple(weight.shape), *([tuple(x.shape)] if self.adds else [])]
        to_x, to_weight, to_bias, *to_shortcut = jt.code(
            shapes,
            ["float32"] * len(shapes),
            [gradient, *self.saved],
            cpu_header=HEADER,
            cpu_src=CPU_BACKWARD.replace("@TO_SHORTCUT", "out3_p[first + i] = g;" if self.adds else ""),
            cuda_header=CUDA_HEADER,
            cuda_src=CUDA_BACKWARD.replace("@SHORTCUT", "out3_p" if self.adds else "nullptr"),
            data=self.data,
        )
        return to_x, to_weight, to_bias, None, None, *(to_shortcut or [None]), None, None


def fixed_norm(
    x: jt.Var,
    weight: jt.Var,
    bias: jt.Var,
    mean: jt.Var,
    variance: jt.Var,
    eps: float,
    shortcut: jt.Var | None = None,
    with_relu: bool = False,
) -> jt.Var:
    """See the module's text; gradients for x, weight, bias and shortcut.

    Args:
        x, shortcut: f32 (B,C,H,W).
        weight, bias, mean, variance: f32 (C,).

    Returns:
        f32 (B,C,H,W).
    """
    return _FixedNorm.apply(x, weight, bias, mean, variance, shortcut, eps, with_relu)
