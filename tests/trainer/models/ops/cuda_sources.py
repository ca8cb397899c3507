"""The CUDA sources of operators as whole programs, and a GPU of one core that runs them.

An operator is called with a `jt` that says there is a GPU and only records what jt.code was given. Around header and
source, `program` writes what Jittor would declare (its code_op.cc). `run` replaces the CUDA runtime: the threads of a
block are coroutines that take turns, each up to the next __syncthreads(), block after block. cuDNN's functions are
those of cudnn_of_one_core.h.
"""

from __future__ import annotations

import atexit
import functools
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from tests import cuda_standin
from trainer.device import jt, onednn_flags

TYPES = {"int32": "int", "float32": "float", "float16": "__half", "bool": "bool"}
_OF_JITTOR = re.compile(r"#include <(executor|mem/mem_info)\.h>\n")  # what DECLARATIONS stands for
_OF_CUDA = re.compile(r"#include <cuda_(fp16|bf16)\.h>\n")
CUDNN_OF_ONE_CORE = Path(__file__).with_name("cudnn_of_one_core.h")
CUDNN_HEADER = cuda_standin.__path__[0] + "/include"

DECLARATIONS = """
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <vector>
namespace jittor {
typedef int int32; typedef long long int64; typedef int64 index_t; typedef float float32;
struct Var { int64 num, size; };
struct Allocation { std::vector<char> bytes; void* ptr; };
struct Executor {
    Allocation alloc_temp(size_t size) const {
        Allocation made = {std::vector<char>(size)};
        made.ptr = made.bytes.data();
        return made;
    }
} exe;
struct MemInfo { int64 total_cuda_ram = 1 << 30; } mem_info;
}
"""

GPU_OF_ONE_CORE = r"""
#include <cstring>
#include <ucontext.h>
#define __global__
#define __device__
#define __shared__ static
struct dim3 { unsigned x, y, z; dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {} };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t scheduler, threads[1024];
alignas(16) static char stacks[1024][64 << 10];
static bool finished[1024];
static int current;
static unsigned long long shuffled[1024];
static void (*enter)(void*);
static void* kernel_of_block;
static void thread_main() { enter(kernel_of_block); finished[current] = true; }
static void __syncthreads() { swapcontext(&threads[current], &scheduler); }
struct Launch {
    dim3 grid, block;
    Launch(dim3 grid, dim3 block, size_t = 0) : grid(grid), block(block) {}
    template <typename Kernel> void operator+(Kernel kernel) {
        gridDim = grid, blockDim = block, kernel_of_block = &kernel;
        enter = [](void* k) { (*(Kernel*)k)(); };
        for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
            for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
                for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block();
    }
    void run_block() {
        for (int t = 0; t < (int)block.x; t++) {
            finished[t] = false;
            getcontext(&threads[t]);
            threads[t].uc_stack.ss_sp = stacks[t], threads[t].uc_stack.ss_size = sizeof(stacks[t]);
            threads[t].uc_link = &scheduler;
            makecontext(&threads[t], thread_main, 0);
        }
        for (bool any = true; any;) {
            any = false;
            for (int t = 0; t < (int)block.x; t++) {
                if (finished[t]) continue;
                current = threadIdx.x = t, any = true;
                swapcontext(&scheduler, &threads[t]);
            }
        }
    }
};
template <typename T> T __shfl_down_sync(unsigned, T value, int by) {
    std::memcpy(&shuffled[threadIdx.x], &value, sizeof(T));
    __syncthreads();
    if (threadIdx.x % 32 + by < 32) std::memcpy(&value, &shuffled[threadIdx.x + by], sizeof(T));
    __syncthreads();
    return value;
}
template <typename T> T atomicAdd(T* at, T value) { const T before = *at; *at += value; return before; }
template <typename T> T atomicMax(T* at, T value) { const T old = *at; *at = std::max(old, value); return old; }
template <typename A, typename B> B bits_as(A a) { B b; std::memcpy(&b, &a, 4); return b; }
#define __float_as_int bits_as<float, int>
#define __float_as_uint bits_as<float, unsigned>
#define __int_as_float bits_as<int, float>
#define __uint_as_float bits_as<unsigned, float>
static float __fadd_rn(float a, float b) { return a + b; }
static float __fsub_rn(float a, float b) { return a - b; }
static float __fmul_rn(float a, float b) { return a * b; }
static float __fdiv_rn(float a, float b) { return a / b; }
using std::max; using std::min;
typedef _Float16 __half;
enum { cudaMemcpyDeviceToDevice };
static void cudaMemcpyAsync(void* to, const void* from, size_t size, int, int) { std::memcpy(to, from, size); }
static void cudaMemsetAsync(void* at, int value, size_t size, int) { std::memset(at, value, size); }
"""

# nvcc's division under --use_fast_math, which Jittor builds kernels with where nobody stops it: a product with the
# divisor's reciprocal. Every float of the operator is one of these.
FAST_DIVISION = r"""
#include <type_traits>
struct FastFloat {
    float value;
    FastFloat() = default;
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>> FastFloat(T x) : value(x) {}
    operator float() const { return value; }
    FastFloat& operator+=(FastFloat x) { value += x.value; return *this; }
    FastFloat& operator*=(FastFloat x) { value *= x.value; return *this; }
};
template <typename A, typename B>
using Fast = std::enable_if_t<(std::is_same_v<A, FastFloat> || std::is_same_v<B, FastFloat>) &&
                              (std::is_same_v<A, FastFloat> || std::is_arithmetic_v<A>) &&
                              (std::is_same_v<B, FastFloat> || std::is_arithmetic_v<B>), FastFloat>;
template <typename A, typename B> Fast<A, B> operator+(A a, B b) { return (float)a + (float)b; }
template <typename A, typename B> Fast<A, B> operator-(A a, B b) { return (float)a - (float)b; }
template <typename A, typename B> Fast<A, B> operator*(A a, B b) { return (float)a * (float)b; }
template <typename A, typename B> Fast<A, B> operator/(A a, B b) { return (float)a * (1.0f / (float)b); }
#define float FastFloat
"""


@dataclass
class Recorded:
    """One call of jt.code."""

    inputs: list[np.ndarray]
    shapes: list[tuple[int, ...]]
    dtypes: list[str]
    header: str
    source: str
    data: dict[str, float]


def record(
    module: ModuleType, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch, in_order: bool = False
) -> list[Recorded]:
    """What `call` gives to jt.code in `module` where there is a GPU, which makes its sums `in_order` or does not.

    An operator that has a CPU source, too, is computed by that, because a gradient's operator is given what the forward
    one gave; the others' outputs are 0.
    """
    recorded = []

    def code(shapes: list | tuple, dtypes: list | str, inputs: list, **sources: object) -> object:
        alone = not isinstance(dtypes, list)
        shapes, dtypes = ([shapes], [dtypes]) if alone else (shapes, dtypes)
        header, source = sources.get("cuda_header", ""), sources["cuda_src"]
        arrays = [x.numpy() for x in inputs]
        names = [str(dtype) for dtype in dtypes]
        recorded.append(Recorded(arrays, [tuple(s) for s in shapes], names, header, source, sources.get("data", {})))
        if "cpu_src" in sources:
            # The CPU's kernels are float32's.
            wide = ["float32" if dtype == "float16" else str(dtype) for dtype in dtypes]
            raised = [x.float32() if x.dtype == "float16" else x for x in inputs]
            outputs = jt.code(shapes, wide, raised, **sources)
            for output in outputs if "dnnl" in sources["cpu_header"] else ():
                output.compile_options = {f"FLAGS: {onednn_flags()} ": 1}
            outputs = [output.cast(dtype) for output, dtype in zip(outputs, dtypes, strict=True)]
        else:
            outputs = [jt.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        return outputs[0] if alone else outputs

    class WithGpu:
        flags = SimpleNamespace(use_cuda=1, no_grad=0)

        def __getattr__(self, name: str) -> object:
            return code if name == "code" else getattr(jt, name)

    with monkeypatch.context() as patch:
        patch.setattr(module, "jt", WithGpu())
        if in_order:
            patch.setattr(module, "sums_in_order", lambda: True)
        call()
    return recorded


def closeness(array: np.ndarray) -> float:
    """The relative difference that another order of sums, or in half the last digit rounded to its neighbour, makes."""
    return max(1e-5, float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0)


def program(operator: Recorded, runtime: str) -> str:
    """The operator as a program, whose argument is the folder of `function`; the same for all calls that differ in
    shapes, data and inputs alone."""
    main = "int main(int, char** arguments) { jittor::run(arguments[1]); }\n"
    return f"{unit([operator.header], runtime)}{function(operator, 'run')}{main}"


def unit(headers: Iterable[str], runtime: str) -> str:
    """What stands before functions of operators with these `headers`."""
    return DECLARATIONS + runtime + "".join(_OF_JITTOR.sub("", header) for header in headers)


def function(operator: Recorded, called: str) -> str:
    """The operator as a function that reads shapes, data and inputs from a folder's files ``sizes``, ``in0``, … and
    writes ``out0``, …."""
    before, after = [], []
    inputs = [(len(x.shape), x.dtype.name) for x in operator.inputs]
    outputs = [(len(shape), dtype) for shape, dtype in zip(operator.shapes, operator.dtypes, strict=True)]
    for name, axes, dtype in [
        *((f"in{i}", *tensor) for i, tensor in enumerate(inputs)),
        *((f"out{i}", *tensor) for i, tensor in enumerate(outputs)),
    ]:
        kind = TYPES[dtype]
        before += [
            *(f"index_t {name}_shape{axis}; sizes >> {name}_shape{axis};" for axis in range(axes)),
            f"const int64 {name}_num = {' * '.join(['1', *(f'{name}_shape{axis}' for axis in range(axes))])};",
            f"Var {name}_var{{{name}_num, {name}_num * (int64)sizeof({kind})}}; Var* {name} = &{name}_var;",
            # What was in an output's memory before must not matter.
            f"std::vector<char> {name}_bytes({name}->size, 0x5b); auto* __restrict__ {name}_p = "
            f"({kind}*){name}_bytes.data();",
        ]
        if name.startswith("in"):
            before += [f'std::ifstream(folder + "/{name}", std::ios::binary).read({name}_bytes.data(), {name}->size);']
        else:
            after += [f'std::ofstream(folder + "/{name}", std::ios::binary).write({name}_bytes.data(), {name}->size);']
    before += [f'sizes >> word; data["{key}"] = std::stod(word);' for key in operator.data]
    lines = "\n".join(before)
    return f"""
namespace jittor {{
void {called}(std::string folder) {{
std::ifstream sizes(folder + "/sizes");
std::map<std::string, double> data;
std::string word;
{lines}
{operator.source}
{" ".join(after)}
}}
}}
"""


# Without contraction: the kernels that must round every operation say so, on a GPU, by __fmul_rn and the like.
_GXX = ("g++", "-std=c++17", "-O1", "-ffp-contract=off", "-w", f"-I{CUDNN_HEADER}")
_BEGINNING = DECLARATIONS + GPU_OF_ONE_CORE


@functools.cache
def _compiled(text: str) -> Path:
    """A program that g++ has made of `text`, which begins like all, kept for this process."""
    made = _programs() / f"{len(list(_programs().iterdir()))}"
    made.mkdir()
    (made / "operator.cpp").write_text(text.removeprefix(_BEGINNING))
    beginning = ["-include", _programs() / "beginning.h"]
    subprocess.run([*_GXX, *beginning, "-o", made / "operator", made / "operator.cpp"], check=True)
    return made / "operator"


@functools.cache
def _programs() -> Path:
    """A folder for them, with how all begin, compiled once."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    beginning = Path(folder.name) / "beginning.h"
    beginning.write_text(_BEGINNING)
    subprocess.run([*_GXX, "-x", "c++-header", beginning, "-o", f"{beginning}.gch"], check=True)
    return Path(folder.name)


def run(operator: Recorded, folder: Path, fast_division: bool = False, wide: bool = False) -> list[np.ndarray]:
    """The operator's outputs by its CUDA source, as it is or with `FAST_DIVISION`.

    Args:
        wide: count by 64 bits, as for arrays too large for 32.
    """
    runtime = GPU_OF_ONE_CORE + (FAST_DIVISION if fast_division else "")
    if "<cudnn.h>" in operator.header:
        runtime += CUDNN_OF_ONE_CORE.read_text(encoding="utf-8")
    text = _OF_CUDA.sub("", program(operator, runtime))
    text = text.replace("INT32_MAX", "0") if wide else text
    text = re.sub(r"extern __shared__ (\w+) (\w+)\[\]", r"static \1 \2[1 << 14]", text)
    text = re.sub(r"(\w+(?:<\w+>)?)\s*<<<(.*?)>>>(\(.*?\));\n", r"Launch(\2) + [&] { \1\3; };\n", text, flags=re.DOTALL)
    compiled = _compiled(text)
    lengths = [length for shape in (*(x.shape for x in operator.inputs), *operator.shapes) for length in shape]
    values = [repr(float(value)) for value in operator.data.values()]
    (folder / "sizes").write_text(" ".join([*map(str, lengths), *values]))
    for i, array in enumerate(operator.inputs):
        (folder / f"in{i}").write_bytes(np.ascontiguousarray(array).tobytes())
    subprocess.run([compiled, folder], check=True, timeout=120)
    return [
        np.fromfile(folder / f"out{i}", dtype).reshape(shape)
        for i, (shape, dtype) in enumerate(zip(operator.shapes, operator.dtypes, strict=True))
    ]
