// cuBLAS, cuDNN, cuRAND and cutt: their calls are counted, and a convolution's algorithm wants a workspace.
//
// How much a card's cuDNN wants is NVIDIA's secret. Here the fastest algorithm, number 1, wants what a change of layout
// of all three arrays takes, and is chosen where that is allowed; number 0 wants nothing.
#include "standin.h"

extern "C" void standin_search();

struct StandinShape {
    int axes;
    int lengths[8];
    size_t bytes() const {
        size_t product = sizeof(float);
        for (int i = 0; i < axes; i++) product *= lengths[i];
        return product;
    }
};

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

cudnnStatus_t shaped(StandinShape* shape, int axes, const int* lengths) {
    shape->axes = axes;
    memcpy(shape->lengths, lengths, axes * sizeof(int));
    return CUDNN_STATUS_SUCCESS;
}

size_t wanted(const StandinShape* a, const StandinShape* b, const StandinShape* c, int algorithm) {
    return algorithm == FASTEST ? a->bytes() + b->bytes() + c->bytes() : 0;
}

template <class P>
cudnnStatus_t found(int* number, P* performance, size_t wanted, size_t allowed) {
    standin_search();
    *performance = P();
    performance->algo = decltype(performance->algo)(wanted <= allowed ? FASTEST : 0);
    *number = 1;
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
cudnnStatus_t cudnnCreateTensorDescriptor(StandinShape** made) {
    return *made = new StandinShape(), CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnCreateFilterDescriptor(StandinShape** made) { return cudnnCreateTensorDescriptor(made); }
cudnnStatus_t cudnnCreateConvolutionDescriptor(StandinShape** made) { return cudnnCreateTensorDescriptor(made); }
cudnnStatus_t cudnnDestroyTensorDescriptor(StandinShape* shape) { return delete shape, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnDestroyFilterDescriptor(StandinShape* shape) { return cudnnDestroyTensorDescriptor(shape); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(StandinShape* shape) { return cudnnDestroyTensorDescriptor(shape); }
cudnnStatus_t cudnnSetTensorNdDescriptor(StandinShape* shape, cudnnDataType_t, int axes, const int* lengths,
                                         const int*) {
    return shaped(shape, axes, lengths);
}
cudnnStatus_t cudnnSetFilterNdDescriptor(StandinShape* shape, cudnnDataType_t, cudnnTensorFormat_t, int axes,
                                         const int* lengths) {
    return shaped(shape, axes, lengths);
}
cudnnStatus_t cudnnSetConvolutionNdDescriptor(...) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetConvolutionGroupCount(StandinShape*, int) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetConvolutionMathType(StandinShape*, cudnnMathType_t) { return CUDNN_STATUS_SUCCESS; }

#define STANDIN_CONVOLUTION(DIRECTION, KIND)                                                                       \
    cudnnStatus_t cudnnGetConvolution##DIRECTION##WorkspaceSize(                                                   \
        cudnnHandle_t, StandinShape* a, StandinShape* b, StandinShape*, StandinShape* c,                           \
        cudnnConvolution##KIND##Algo_t algorithm, size_t* size) {                                                  \
        return *size = wanted(a, b, c, algorithm), CUDNN_STATUS_SUCCESS;                                           \
    }                                                                                                              \
    cudnnStatus_t cudnnFindConvolution##DIRECTION##AlgorithmEx(                                                    \
        cudnnHandle_t, StandinShape* a, const void*, StandinShape* b, const void*, StandinShape*, StandinShape* c, \
        void*, int, int* number, cudnnConvolution##KIND##AlgoPerf_t* performance, void*, size_t allowed) {         \
        return found(number, performance, wanted(a, b, c, FASTEST), allowed);                                      \
    }                                                                                                              \
    cudnnStatus_t cudnnConvolution##DIRECTION(...) { return launched<cudnnStatus_t>(); }
STANDIN_CONVOLUTION(Forward, Fwd)
STANDIN_CONVOLUTION(BackwardData, BwdData)
STANDIN_CONVOLUTION(BackwardFilter, BwdFilter)

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
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionForwardAlgorithm_v7)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionBackwardDataAlgorithm_v7)
STANDIN_UNUSED(cudnnStatus_t, cudnnGetConvolutionBackwardFilterAlgorithm_v7)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetTensor4dDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetFilter4dDescriptor)
STANDIN_UNUSED(cudnnStatus_t, cudnnSetConvolution2dDescriptor)
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
