"""What Jittor throws, and what of it says that memory is used up."""

import pytest

from trainer.process.out_of_memory import sign

OPERATOR = "\x1b[38;5;1m[f 1127 13:09 executor.cc:686]\nExecute fused operator(3/9) failed.\n[Reason]: "


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Unable to alloc cuda device memory for size 822083584\x1b[m\n[OP TYPE]: conv",
            "Unable to alloc cuda device ",
        ),
        ("\n*******\n GPU memory is overflow, please reduce your batch_size or data size!", "GPU memory is overflow"),
        ("CUDA error at helper_cuda.h:161  code=2( cudaErrorMemoryAllocation ) cudaMallocHost", "CUDA error at helper"),
        ("cudnn_conv_op.cc:203 code=2( CUDNN_STATUS_ALLOC_FAILED ) cudnnConvolutionForward", "cudnn_conv_op.cc:203 c"),
        ("shapes [2,3] and [3,2] do not match", ""),
        ("CUDA error code=700( cudaErrorIllegalAddress ) cudaDeviceSynchronize()", ""),
    ],
)
def test_used_up_memory_is_told_from_other_errors(text: str, found: str) -> None:
    said = sign(RuntimeError(OPERATOR + text))
    assert found in said and bool(said) == bool(found) and said.isprintable()
