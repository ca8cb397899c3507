// cuBLAS, cuDNN, cuRAND and cutt: their calls are counted, and a convolution's algorithm wants a workspace.
//
// How much a card's cuDNN wants is NVIDIA's secret. Here the fastest algorithm, number 1, wants what a change of layout
// of all three arrays takes, and is chosen where that is allowed; number 0 wants nothing.
#include "standin.h"

extern "C" void standin_search();
extern "C" void standin_ranking();

struct StandinShape {
    size_t bytes = 0;
    StandinShape() = default;
    StandinShape(cudnnDataType_t type, int a, int b, int c, int d)
        : bytes((type == CUDNN_DATA_FLOAT ? 4ULL : 2ULL) * a * b * c * d) {}
};
struct StandinTensor : StandinShape {};
struct StandinFilter : StandinShape {};
struct StandinConvolution : StandinShape {};

void (*custom_cuda_malloc)(void**, size_t, size_t&);
void (*custom_cuda_free)(void*, size_t, size_t&);

namespace {

const int FASTEST = 1;
int handle;  // what all handles point to

template <class S, class H>
S created(H* made) {
    return *made = (H)&handle, S(0);
}

template <class S>
S launched() {
    return standin_library_launch(), S(0);
}

size_t wanted(const StandinShape* a, const StandinShape* b, const StandinShape* c) {
    return a->bytes + b->bytes + c->bytes;
}

template <class P>
cudnnStatus_t found(int* number, P* performances, size_t wanted) {
    performances[0] = performances[1] = P();
    performances[0].algo = decltype(P::algo)(FASTEST);
    performances[0].memory = wanted;
    performances[0].determinism = performances[1].determinism = CUDNN_DETERMINISTIC;
    *number = 2;
    return CUDNN_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t* made) { return created<cublasStatus_t>(made); }
cublasStatus_t cublasDestroy(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasGemmEx(...) { return launched<cublasStatus_t>(); }
cublasStatus_t cublasGemmStridedBatchedEx(...) { return launched<cublasStatus_t>(); }

cudnnStatus_t cudnnCreate(cudnnHandle_t* made) { return created<cudnnStatus_t>(made); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
const char* cudnnGetErrorString(cudnnStatus_t) { return "stand-in"; }
#define STANDIN_DESCRIPTOR(KIND)                                                    \
    cudnnStatus_t cudnnCreate##KIND##Descriptor(cudnn##KIND##Descriptor_t* made) {  \
        return *made = new Standin##KIND(), CUDNN_STATUS_SUCCESS;                   \
    }                                                                               \
    cudnnStatus_t cudnnDestroy##KIND##Descriptor(cudnn##KIND##Descriptor_t shape) { \
        return delete shape, CUDNN_STATUS_SUCCESS;                                  \
    }
STANDIN_DESCRIPTOR(Tensor)
STANDIN_DESCRIPTOR(Filter)
STANDIN_DESCRIPTOR(Convolution)
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t shape, cudnnTensorFormat_t, cudnnDataType_t type,
                                         int n, int c, int h, int w) {
    return (StandinShape&)*shape = StandinShape(type, n, c, h, w), CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t shape, cudnnDataType_t type, cudnnTensorFormat_t,
                                         int o, int i, int h, int w) {
    return (StandinShape&)*shape = StandinShape(type, o, i, h, w), CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t, int, int, int, int, int, int,
                                              cudnnConvolutionMode_t, cudnnDataType_t) {
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t) {
    return CUDNN_STATUS_SUCCESS;
}

#define STANDIN_CONVOLUTION(DIRECTION, KIND, A, B, C)                                                                  \
    cudnnStatus_t cudnnGetConvolution##DIRECTION##Algorithm_v7(cudnnHandle_t, A a, B b, cudnnConvolutionDescriptor_t,  \
                                                               C c, int, int* number,                                  \
                                                               cudnnConvolution##KIND##AlgoPerf_t* performances) {     \
        standin_ranking();                                                                                             \
        return found(number, performances, wanted(a, b, c));                                                           \
    }                                                                                                                  \
    cudnnStatus_t cudnnFindConvolution##DIRECTION##AlgorithmEx(                                                        \
        cudnnHandle_t, A a, const void*, B b, const void*, cudnnConvolutionDescriptor_t, C c, void*, int, int* number, \
        cudnnConvolution##KIND##AlgoPerf_t* performances, void*, size_t) {                                             \
        standin_search();                                                                                              \
        return found(number, performances, wanted(a, b, c));                                                           \
    }                                                                                                                  \
    cudnnStatus_t cudnnConvolution##DIRECTION(cudnnHandle_t, const void*, A, const void*, B, const void*,              \
                                              cudnnConvolutionDescriptor_t, cudnnConvolution##KIND##Algo_t, void*,     \
                                              size_t, const void*, C, void*) {                                         \
        return launched<cudnnStatus_t>();                                                                              \
    }
STANDIN_CONVOLUTION(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
STANDIN_CONVOLUTION(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
STANDIN_CONVOLUTION(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t,
                    cudnnFilterDescriptor_t)

curandStatus_t curandCreateGenerator(curandGenerator_t* made, int) { return created<curandStatus_t>(made); }
curandStatus_t curandDestroyGenerator(curandGenerator_t) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long) {
    return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandGenerateUniform(curandGenerator_t, float*, size_t) { return launched<curandStatus_t>(); }
curandStatus_t curandGenerateUniformDouble(curandGenerator_t, double*, size_t) { return launched<curandStatus_t>(); }
curandStatus_t curandGenerateNormal(curandGenerator_t, float*, size_t, float, float) {
    return launched<curandStatus_t>();
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t, double*, size_t, double, double) {
    return launched<curandStatus_t>();
}

cusparseStatus_t cusparseCreate(cusparseHandle_t* made) { return created<cusparseStatus_t>(made); }
cusparseStatus_t cusparseDestroy(cusparseHandle_t) { return CUSPARSE_STATUS_SUCCESS; }

// Named by Jittor's modules, which are loaded whole.
#define STANDIN_UNUSED(KIND, NAME)                                     \
    KIND NAME(...) {                                                   \
        fprintf(stderr, "the stand-in for a card has no %s\n", #NAME); \
        abort();                                                       \
    }
STANDIN_UNUSED(cublasStatus_t, cublasSgemm)
STANDIN_UNUSED(cublasStatus_t, cublasDgemm)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionForwardWorkspaceSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionBackwardDataWorkspaceSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionBackwardFilterWorkspaceSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetTensorNdDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetFilterNdDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetConvolutionNdDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetConvolutionGroupCount)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolution2dForwardOutputDim)
STANDIN_UNUSED(cudnnStatus_t, cudnnCreateDropoutDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnDestroyDropoutDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetDropoutDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnDropoutGetStatesSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnCreateRNNDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnDestroyRNNDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetRNNDescriptor_v6)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetRNNParamsSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetRNNWorkspaceSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetRNNTrainingReserveSize)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetRNNLinLayerMatrixParams)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetRNNLinLayerBiasParams)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetFilterNdDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnRNNForwardTraining)
STANDIN_UNUSED(cudnnStatus_t, cudnnRNNForwardInference)
STANDIN_UNUSED(cudnnStatus_t, cudnnRNNBackwardData)
STANDIN_UNUSED(cudnnStatus_t, cudnnRNNBackwardWeights)
STANDIN_UNUSED(cufftResult, cufftCreate)
STANDIN_UNUSED(cufftResult, cufftDestroy)
STANDIN_UNUSED(cufftResult, cufftPlanMany)
STANDIN_UNUSED(cufftResult, cufftSetStream)
STANDIN_UNUSED(cufftResult, cufftExecC2C)
STANDIN_UNUSED(cufftResult, cufftExecZ2Z)
STANDIN_UNUSED(cusparseStatus_t, cusparseCreateCsr)
STANDIN_UNUSED(cusparseStatus_t, cusparseCreateCoo)
STANDIN_UNUSED(cusparseStatus_t, cusparseCreateDnMat)
STANDIN_UNUSED(cusparseStatus_t, cusparseDestroySpMat)
STANDIN_UNUSED(cusparseStatus_t, cusparseDestroyDnMat)
STANDIN_UNUSED(cusparseStatus_t, cusparseSpMM)
STANDIN_UNUSED(cusparseStatus_t, cusparseSpMM_bufferSize)

int cuttPlan(cuttHandle* made, int, int*, int*, size_t, cudaStream_t) { return *made = 1, 0; }
int cuttExecute(cuttHandle, void*, void*) { return standin_library_launch(), 0; }

}  // extern "C"
