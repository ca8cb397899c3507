"""Means of 2x2 pixels; Jittor's own refuses maps of 2 pixels, and its general reductions run in one thread."""

from __future__ import annotations

from trainer.device import jt

# in0 x (B,C,H,W)   out0 y (B,C,H//2,W//2)
CPU_FORWARD = r"""
    const int64 planes = in0_shape0 * in0_shape1, height = out0_shape2, width = out0_shape3, wide = in0_shape3;
    #pragma omp parallel for schedule(static)
    for (int64 plane = 0; plane < planes; plane++)
        for (int64 row = 0; row < height; row++) {
            const float* __restrict__ above = in0_p + (plane * in0_shape2 + 2 * row) * wide;
            const float* __restrict__ below = above + wide;
            float* __restrict__ y = out0_p + (plane * height + row) * width;
            for (int64 i = 0; i < width; i++)
                y[i] = (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1]) * 0.25f;
        }
"""
# in0 gradient of y   out0 gradient of x
CPU_BACKWARD = r"""
    const int64 planes = in0_shape0 * in0_shape1, height = in0_shape2, width = in0_shape3;
    const int64 high = out0_shape2, wide = out0_shape3;
    #pragma omp parallel for schedule(static)
    for (int64 plane = 0; plane < planes; plane++)
        for (int64 row = 0; row < high; row++) {
            float* __restrict__ x = out0_p + (plane * high + row) * wide;
            const float* __restrict__ gradient = in0_p + (plane * height + row / 2) * width;
            const bool inside = row < 2 * height;
            for (int64 i = 0; i < width; i++) x[2 * i] = x[2 * i + 1] = inside ? gradient[i] * 0.25f : 0;
            if (wide % 2) x[wide - 1] = 0;
        }
"""
CUDA_HEADER = r"""
namespace jittor {
__global__ void pool_forward(const float* x, int64 all, int64 width, int64 height, int64 wide, int64 high, float* y) {
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < all; i += (int64)blockDim.x * gridDim.x) {
        const float* above = x + (i / width / height * high + i / width % height * 2) * wide + i % width * 2;
        y[i] = (above[0] + above[1] + above[wide] + above[wide + 1]) * 0.25f;
    }
}
__global__ void pool_backward(const float* gradient, int64 all, int64 width, int64 height, int64 wide, int64 high,
                              float* x) {
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < all; i += (int64)blockDim.x * gridDim.x) {
        const int64 column = i % wide / 2, row = i / wide % high / 2;
        const bool inside = column < width && row < height;
        x[i] = inside ? gradient[(i / wide / high * height + row) * width + column] * 0.25f : 0;
    }
}
} // namespace jittor
"""
CUDA_FORWARD = r"""
    if (out0->num) pool_forward<<<(int)std::min<int64>((out0->num + 255) / 256, 1 << 16), 256>>>(
        in0_p, out0->num, out0_shape3, out0_shape2, in0_shape3, in0_shape2, out0_p);
"""
CUDA_BACKWARD = r"""
    if (out0->num) pool_backward<<<(int)std::min<int64>((out0->num + 255) / 256, 1 << 16), 256>>>(
        in0_p, out0->num, in0_shape3, in0_shape2, out0_shape3, out0_shape2, out0_p);
"""


class _AveragePool(jt.Function):
    def execute(self, x: jt.Var) -> jt.Var:
        self.shape = tuple(x.shape)
        batch, channels, height, width = self.shape
        shape = (batch, channels, height // 2, width // 2)
        return jt.code(shape, "float32", [x], cpu_src=CPU_FORWARD, cuda_header=CUDA_HEADER, cuda_src=CUDA_FORWARD)

    def grad(self, gradient: jt.Var) -> jt.Var:
        return jt.code(
            self.shape, "float32", [gradient], cpu_src=CPU_BACKWARD, cuda_header=CUDA_HEADER, cuda_src=CUDA_BACKWARD
        )


def average_pool(x: jt.Var) -> jt.Var:
    """Means of 2x2 pixels, f32 (B,C,H,W) -> (B,C,H//2,W//2); an odd last row or column is dropped.

    torch's AvgPool2d(2).
    """
    return _AveragePool.apply(x)
