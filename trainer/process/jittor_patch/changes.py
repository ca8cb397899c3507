"""What is changed in Jittor 1.3.11.0, and in the cutt that it builds, for CUDA 13, cuDNN 9 and cards above 9.0.

Each change names a file of the copy, a text that is in it exactly once, and what comes in its place. All of it compiles
with CUDA 12 as well: cuDNN 9 is there for both.
"""

from __future__ import annotations

from typing import NamedTuple

CUTT = "cutt/cutt-1.2"  # in the copy: where Jittor, so changed, builds it from


class Change(NamedTuple):
    file: str
    old: str
    new: str


_HELPER = "jittor/extern/cuda/inc/helper_cuda.h"
_COMPILER = "jittor/compiler.py"
_LIBRARIES = "jittor/compile_extern.py"
# CUDA 13's cudaDeviceProp has neither computeMode nor the two clocks. All CUDAs tell them when they are asked.
_ASKED = """
static int deviceAttribute(cudaDeviceAttr attribute, int device) {
  int value = 0;
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}
"""
_ASKED_IN_CUTT = """
inline int deviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}
"""
_COMPUTE_MODE = "deviceAttribute(cudaDevAttrComputeMode, {})"
# cuDNN 9 has none of the functions for RNNs that Jittor calls; no network here has an RNN.
LEFT_OUT = tuple(
    f"jittor/extern/cuda/cudnn/{name}"
    for name in (
        "inc/cudnn_rnn_descriptor.h",
        "src/cudnn_rnn_descriptor.cc",
        "ops/cudnn_rnn_op.h",
        "ops/cudnn_rnn_op.cc",
        "ops/cudnn_rnn_backward_x_op.h",
        "ops/cudnn_rnn_backward_x_op.cc",
    )
)
CHANGES = (
    Change(
        _HELPER,
        "inline int gpuDeviceInit(int devID) {",
        f"{_ASKED.lstrip()}\ninline int gpuDeviceInit(int devID) {{",
    ),
    Change(
        _HELPER,
        "if (deviceProp.computeMode == cudaComputeModeProhibited) {",
        f"if ({_COMPUTE_MODE.format('devID')} == cudaComputeModeProhibited) {{",
    ),
    Change(
        _HELPER,
        "if (deviceProp.computeMode != cudaComputeModeProhibited) {",
        f"if ({_COMPUTE_MODE.format('current_device')} != cudaComputeModeProhibited) {{",
    ),
    Change(
        _HELPER,
        "(deviceProp.computeMode != cudaComputeModeProhibited)) {",
        f"({_COMPUTE_MODE.format('current_device')} != cudaComputeModeProhibited)) {{",
    ),
    Change(
        _HELPER,
        "sm_per_multiproc * deviceProp.clockRate;",
        "sm_per_multiproc * deviceAttribute(cudaDevAttrClockRate, current_device);",
    ),
    # NPP is a package of its own, of which kernels need eight numbers.
    Change(
        "jittor/src/misc/cuda_limits.h",
        "#include <npp.h>\n",
        "#define NPP_MIN_32U (0)\n"
        "#define NPP_MAX_32U (4294967295U)\n"
        "#define NPP_MIN_32S (-2147483647 - 1)\n"
        "#define NPP_MAX_32S (2147483647)\n"
        "#define NPP_MIN_64U (0)\n"
        "#define NPP_MAX_64U (18446744073709551615ULL)\n"
        "#define NPP_MIN_64S (-9223372036854775807LL - 1)\n"
        "#define NPP_MAX_64S (9223372036854775807LL)\n",
    ),
    # CUB of CUDA 13 wants C++17, and has no cub::Max.
    Change(
        _COMPILER,
        "flags.nvcc_flags = nvcc_flags\n",
        'flags.nvcc_flags = nvcc_flags.replace("-std=c++14", "-std=c++17")\n',
    ),
    Change(
        "jittor/other/code_softmax.py",
        "    auto tmp = BlockReduce(temp_storage).Reduce(v1, cub::Max());\n",
        "    struct Larger {{ __device__ float operator()(float a, float b) const {{ return ::max(a, b); }} }};\n"
        "    auto tmp = BlockReduce(temp_storage).Reduce(v1, Larger());\n",
    ),
    # Code for 9.0 does not run on later cards.
    Change(_COMPILER, "    max_arch = 90\n", "    max_arch = 90 if nvcc_version < [12, 8] else 121\n"),
    # Jittor opens cuDNN 8's parts before cuDNN itself. 9 has others, in some packages with a version in their names.
    Change(
        _LIBRARIES,
        'libs = ["libcudnn_ops_infer.so", "libcudnn_ops_train.so", "libcudnn_cnn_infer.so", "libcudnn_cnn_train.so"]',
        'libs = ["libcudnn_graph.so", "libcudnn_ops.so", "libcudnn_cnn.so"]',
    ),
    Change(
        _LIBRARIES,
        'f"/usr/lib/{arch_key}-linux-gnu", "/usr/lib"], l, prefer_version)',
        'f"/usr/lib/{arch_key}-linux-gnu", "/usr/lib"], l, ("9",))',
    ),
    # Distributions have cuDNN's headers where compilers look by themselves.
    Change(
        _LIBRARIES,
        '[cuda_include, extra_include_path, "/usr/include"]',
        '[cuda_include, extra_include_path, "/usr/include", f"/usr/include/{arch_key}-linux-gnu"]',
    ),
    # cutt lies in the copy, changed and unpacked.
    Change(
        _LIBRARIES,
        'cutt_path = os.path.join(jit_utils.home(), ".cache", "jittor", "cutt")',
        'cutt_path = os.path.join(os.path.dirname(jittor_path), "cutt")',
    ),
    Change(
        _LIBRARIES,
        """            LOG.i("Downloading cutt...")
            download_url_to_local(url, filename, root_folder, true_md5)

            import zipfile

            zf = zipfile.ZipFile(fullname)
            try:
                zf.extractall(path=root_folder)
            except RuntimeError as e:
                print(e)
                raise
            zf.close()
""",
        "            pass\n",
    ),
    Change(
        f"{CUTT}/src/cuttGpuModelKernel.h",
        "#define CUTTGPUMODELKERNEL_H\n",
        f"#define CUTTGPUMODELKERNEL_H\n#include <cuda_runtime.h>\n{_ASKED_IN_CUTT}",
    ),
    Change(f"{CUTT}/src/cuttGpuModel.cpp", "prop.memoryClockRate*2", "deviceAttribute(cudaDevAttrMemoryClockRate)*2"),
    Change(f"{CUTT}/src/cuttGpuModel.cpp", "(double)prop.clockRate", "(double)deviceAttribute(cudaDevAttrClockRate)"),
    Change(f"{CUTT}/src/cuttplan.cpp", "prop.clockRate*1000", "deviceAttribute(cudaDevAttrClockRate)*1000"),
    # Programs of their own, which would find the Jittor that is installed.
    Change(
        "jittor/utils/asm_tuner.py",
        "import jittor_utils as jit_utils\n",
        "sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))\n"
        "import jittor_utils as jit_utils\n",
    ),
    Change(
        _COMPILER,
        'f"log_v=0 {sys.executable} -m jittor_utils.query_cuda_cc"',
        "f\"log_v=0 PYTHONPATH='{os.path.dirname(jittor_path)}' {sys.executable} -m jittor_utils.query_cuda_cc\"",
    ),
)
