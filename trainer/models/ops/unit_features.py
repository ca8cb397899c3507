"""ReLU and unit length over the channels of every cell, in one pass over the map each way.

    z = max(x + bias, 0)        y = z / max(|z|, TINY)        |z| over the channels of a cell

Written with Jittor's own operators this is a dozen kernels forward and backward, each in one thread. A cell whose
length is below TINY passes its gradient on as if it were divided by a constant; that of a zero is zero.
"""

from __future__ import annotations

from trainer.device import jt

TINY = 1e-12  # the smallest length that a feature is divided by

# in0 x (B,C,H,W)  in1 bias (C)   out0 y  out1 1 / length (B,H,W)
HEADER = r"""
#include <algorithm>
#include <cmath>
namespace jittor {
constexpr int64 CELLS = 256;  // of a piece: one row of it is in the cache of a core for all channels
}
"""
CPU_FORWARD = r"""
    const int64 channels = in0_shape1, number = in0_shape2 * in0_shape3, pieces = (number + CELLS - 1) / CELLS;
    #pragma omp parallel for schedule(static)
    for (int64 piece = 0; piece < in0_shape0 * pieces; piece++) {
        const int64 image = piece / pieces, first = piece % pieces * CELLS, count = std::min(CELLS, number - first);
        const int64 start = image * channels * number + first;
        float squares[CELLS] = {};
        for (int64 c = 0; c < channels; c++) {
            const float* __restrict__ x = in0_p + start + c * number;
            float* __restrict__ y = out0_p + start + c * number;
            const float bias = in1_p[c];
            for (int64 i = 0; i < count; i++) {
                const float value = x[i] + bias;
                y[i] = value < 0 ? 0 : value;
                squares[i] += y[i] * y[i];
            }
        }
        float* __restrict__ inverse = out1_p + image * number + first;
        for (int64 i = 0; i < count; i++) inverse[i] = 1 / std::sqrt(std::max(squares[i], TINY2));
        for (int64 c = 0; c < channels; c++) {
            float* __restrict__ y = out0_p + start + c * number;
            for (int64 i = 0; i < count; i++) y[i] *= inverse[i];
        }
    }
"""
# in0 gradient of y  in1 y  in2 1 / length   out0 gradient of x  out1 of bias (C)
CPU_BACKWARD = r"""
    const int64 channels = in0_shape1, number = in0_shape2 * in0_shape3, pieces = (number + CELLS - 1) / CELLS;
    const float largest = 0.5f / std::sqrt(TINY2);
    #pragma omp parallel for schedule(static)
    for (int64 piece = 0; piece < in0_shape0 * pieces; piece++) {
        const int64 image = piece / pieces, first = piece % pieces * CELLS, count = std::min(CELLS, number - first);
        const int64 start = image * channels * number + first;
        const float* __restrict__ inverse = in2_p + image * number + first;
        float products[CELLS] = {};
        for (int64 c = 0; c < channels; c++) {
            const float* __restrict__ gradient = in0_p + start + c * number;
            const float* __restrict__ y = in1_p + start + c * number;
            for (int64 i = 0; i < count; i++) products[i] += gradient[i] * y[i];
        }
        for (int64 i = 0; i < count; i++) if (inverse[i] > largest) products[i] = 0;
        for (int64 c = 0; c < channels; c++) {
            const float* __restrict__ gradient = in0_p + start + c * number;
            const float* __restrict__ y = in1_p + start + c * number;
            float* __restrict__ to_x = out0_p + start + c * number;
            for (int64 i = 0; i < count; i++)
                to_x[i] = y[i] > 0 ? (gradient[i] - y[i] * products[i]) * inverse[i] : 0;
        }
    }
    #pragma omp parallel for schedule(static)
    for (int64 c = 0; c < channels; c++) {
        double total = 0;
        for (int64 image = 0; image < in0_shape0; image++) {
            const float* __restrict__ to_x = out0_p + (image * channels + c) * number;
            float sum = 0;
            for (int64 i = 0; i < number; i++) sum += to_x[i];
            total += sum;
        }
        out1_p[c] = total;
    }
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void unit_forward(const float* x, const float* bias, int64 cells, int64 channels, int64 number, float* y,
                             float* inverse) {
    const int64 cell = blockIdx.x * (int64)blockDim.x + threadIdx.x;
    if (cell >= cells) return;
    const int64 start = cell / number * channels * number + cell % number;
    float squares = 0;
    for (int64 c = 0; c < channels; c++) {
        const float value = x[start + c * number] + bias[c];
        const float kept = value < 0 ? 0 : value;
        y[start + c * number] = kept;
        squares += kept * kept;
    }
    const float factor = 1 / sqrtf(max(squares, TINY2));
    inverse[cell] = factor;
    for (int64 c = 0; c < channels; c++) y[start + c * number] *= factor;
}
__global__ void unit_backward(const float* gradient, const float* y, const float* inverse, int64 cells, int64 channels,
                              int64 number, float* to_x) {
    const int64 cell = blockIdx.x * (int64)blockDim.x + threadIdx.x;
    if (cell >= cells) return;
    const int64 start = cell / number * channels * number + cell % number;
    float product = 0;
    for (int64 c = 0; c < channels; c++) product += gradient[start + c * number] * y[start + c * number];
    if (inverse[cell] > 0.5f / sqrtf(TINY2)) product = 0;
    for (int64 c = 0; c < channels; c++) {
        const int64 i = start + c * number;
        to_x[i] = y[i] > 0 ? (gradient[i] - y[i] * product) * inverse[cell] : 0;
    }
}
// One block per channel.
__global__ void bias_sums(const float* to_x, int64 images, int64 channels, int64 number, float* to_bias) {
    __shared__ float sums[256];
    const int64 c = blockIdx.x;
    float sum = 0;
    for (int64 k = threadIdx.x; k < images * number; k += 256)
        sum += to_x[(k / number * channels + c) * number + k % number];
    sums[threadIdx.x] = sum;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) to_bias[c] = sums[0];
}
} // namespace jittor
"""
CUDA_FORWARD = r"""
    const int64 number = in0_shape2 * in0_shape3, cells = in0_shape0 * number;
    unit_forward<<<(cells + 255) / 256, 256>>>(in0_p, in1_p, cells, in0_shape1, number, out0_p, out1_p);
"""
CUDA_BACKWARD = r"""
    const int64 number = in0_shape2 * in0_shape3, cells = in0_shape0 * number;
    unit_backward<<<(cells + 255) / 256, 256>>>(in0_p, in1_p, in2_p, cells, in0_shape1, number, out0_p);
    bias_sums<<<in0_shape1, 256>>>(out0_p, in0_shape0, in0_shape1, number, out1_p);
"""


def _with_constants(source: str) -> str:
    return source.replace("TINY2", f"{TINY**2!r}f")


class _UnitFeatures(jt.Function):
    def execute(self, x: jt.Var, bias: jt.Var) -> jt.Var:
        batch, _, height, width = x.shape
        y, inverse = jt.code(
            [tuple(x.shape), (batch, height, width)],
            ["float32", "float32"],
            [x, bias],
            cpu_header=HEADER,
            cpu_src=_with_constants(CPU_FORWARD),
            cuda_header=_with_constants(CUDA_HEADER),
            cuda_src=CUDA_FORWARD,
        )
        self.saved = (y, inverse)
        return y

    def grad(self, gradient: jt.Var) -> tuple[jt.Var, jt.Var]:
        shape = tuple(gradient.shape)
        return tuple(
            jt.code(
                [shape, (shape[1],)],
                ["float32", "float32"],
                [gradient, *self.saved],
                cpu_header=HEADER,
                cpu_src=_with_constants(CPU_BACKWARD),
                cuda_header=_with_constants(CUDA_HEADER),
                cuda_src=CUDA_BACKWARD,
            )
        )


def unit_features(x: jt.Var, bias: jt.Var) -> jt.Var:
    """See the module's text.

    Args:
        x: f32 (B,C,H,W).
        bias: f32 (C,).

    Returns:
        f32 (B,C,H,W).
    """
    return _UnitFeatures.apply(x, bias)
