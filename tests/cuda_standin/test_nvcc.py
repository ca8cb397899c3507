"""The compiler that stands in for nvcc: what runs on the host stays, what a card would compute goes."""

from pathlib import Path

import pytest

from tests.cuda_standin.nvcc import host_side, translated

TRAINER = Path(__file__).resolve().parents[2] / "trainer"
SOURCES = sorted(TRAINER.rglob("*.cu"))

KERNEL = """
namespace n {
__device__ inline int twice(int x) { return 2 * x; }
template <typename T>
__global__ static void __launch_bounds__(256) fill(T* y, int n) {
    for (int i = threadIdx.x; i < n; i++) { y[i] = twice(i); }
}
void run(float* y, int n) {
    if (n) fill<float><<<dim3(n, 2), 256, 4 * n>>>(y, n);
}
}
"""


def test_a_launch_stays_and_kernels_go() -> None:
    left = "namespace n { void run(float* y, int n) { if (n) StandinKernel(dim3(n, 2), 256, 4 * n)(y, n); } }"
    assert " ".join(host_side(KERNEL).split()) == left


def test_functions_that_the_host_calls_as_well_stay() -> None:
    source = "struct S { __host__ __device__ bool operator()(int x) const { return x; } };"
    assert host_side(source) == source


def test_a_macro_for_functions_of_a_device_stays_with_what_is_around_it() -> None:
    source = "#ifdef __CUDACC__\n#define ON_DEVICE __device__\n#endif\nON_DEVICE int f() { return 1; }\n"
    assert host_side(source) == source


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_of_our_kernels_launches_alone_are_left(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    left = host_side(text)
    assert left.count("StandinKernel(") == text.count("<<<")
    assert "__global__" not in left and "<<<" not in left


def test_nothing_is_written_beside_a_source() -> None:
    words = ["/jittor/a.cu", "-Xcompiler", "-fPIC", "-code=sm_90", "-x", "cu", "-lx", "-o", "/b/a.so"]
    command, source = translated(words)
    assert source == Path("/jittor/a.cu")
    assert command[-5:] == ["c++", "-", "-x", "none", "-lx"]
    assert [word for word in command if word.startswith("/")] == ["/jittor", "/b/a.so"]
