// As much of cuDNN 8 as Jittor names, and all that our operators call. It needs nothing else.
#ifndef STANDIN_CUDNN
#define STANDIN_CUDNN
#include <cstddef>

#define CUDNN_MAJOR 8
#define CUDNN_MINOR 9
#define CUDNN_PATCHLEVEL 7
#define CUDNN_VERSION 8907
enum cudnnStatus_t { CUDNN_STATUS_SUCCESS = 0, CUDNN_STATUS_ALLOC_FAILED = 2, CUDNN_STATUS_NOT_SUPPORTED = 9 };
enum cudnnDataType_t { CUDNN_DATA_FLOAT, CUDNN_DATA_DOUBLE, CUDNN_DATA_HALF, CUDNN_DATA_BFLOAT16 = 9 };
enum cudnnTensorFormat_t { CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NHWC };
enum cudnnConvolutionMode_t { CUDNN_CONVOLUTION, CUDNN_CROSS_CORRELATION };
enum cudnnMathType_t {
    CUDNN_DEFAULT_MATH,
    CUDNN_TENSOR_OP_MATH,
    CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
    CUDNN_FMA_MATH
};
enum cudnnDeterminism_t { CUDNN_NON_DETERMINISTIC, CUDNN_DETERMINISTIC };
enum cudnnConvolutionFwdAlgo_t {
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
    CUDNN_CONVOLUTION_FWD_ALGO_DIRECT,
    CUDNN_CONVOLUTION_FWD_ALGO_FFT,
    CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED,
    CUDNN_CONVOLUTION_FWD_ALGO_COUNT
};
enum cudnnConvolutionBwdDataAlgo_t {
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT_TILING,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED,
    CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT
};
enum cudnnConvolutionBwdFilterAlgo_t {
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT_TILING,
    CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT
};
typedef struct StandinCudnn* cudnnHandle_t;
typedef struct StandinTensor* cudnnTensorDescriptor_t;
typedef struct StandinFilter* cudnnFilterDescriptor_t;
typedef struct StandinConvolution* cudnnConvolutionDescriptor_t;
typedef struct StandinUnused *cudnnDropoutDescriptor_t, *cudnnRNNDescriptor_t;
template <class A>
struct StandinPerformance {
    A algo;
    cudnnStatus_t status;
    float time;
    size_t memory;
    cudnnDeterminism_t determinism;
    cudnnMathType_t mathType;
    int reserved[3];
};
typedef StandinPerformance<cudnnConvolutionFwdAlgo_t> cudnnConvolutionFwdAlgoPerf_t;
typedef StandinPerformance<cudnnConvolutionBwdDataAlgo_t> cudnnConvolutionBwdDataAlgoPerf_t;
typedef StandinPerformance<cudnnConvolutionBwdFilterAlgo_t> cudnnConvolutionBwdFilterAlgoPerf_t;
enum cudnnRNNMode_t { CUDNN_RNN_RELU, CUDNN_RNN_TANH, CUDNN_LSTM, CUDNN_GRU };
enum { CUDNN_UNIDIRECTIONAL, CUDNN_BIDIRECTIONAL, CUDNN_LINEAR_INPUT = 0, CUDNN_RNN_ALGO_STANDARD = 0 };
extern "C" {
cudnnStatus_t cudnnCreate(cudnnHandle_t*);
cudnnStatus_t cudnnDestroy(cudnnHandle_t);
const char* cudnnGetErrorString(cudnnStatus_t);
cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t*);
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t*);
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t*);
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t);
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t);
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t);
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t);
cudnnStatus_t cudnnSetTensorNdDescriptor(...);
cudnnStatus_t cudnnSetFilterNdDescriptor(...);
cudnnStatus_t cudnnSetConvolutionNdDescriptor(...);
cudnnStatus_t cudnnSetConvolutionGroupCount(...);
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t, cudnnTensorFormat_t, cudnnDataType_t, int, int, int,
                                         int);
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t, cudnnDataType_t, cudnnTensorFormat_t, int, int, int,
                                         int);
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t, int, int, int, int, int, int,
                                              cudnnConvolutionMode_t, cudnnDataType_t);
#define STANDIN_CONVOLUTION(DIRECTION, KIND, A, B, C)                                                                \
    cudnnStatus_t cudnnGetConvolution##DIRECTION##WorkspaceSize(...);                                                \
    cudnnStatus_t cudnnGetConvolution##DIRECTION##Algorithm_v7(cudnnHandle_t, A, B, cudnnConvolutionDescriptor_t, C, \
                                                               int, int*, cudnnConvolution##KIND##AlgoPerf_t*);      \
    cudnnStatus_t cudnnFindConvolution##DIRECTION##AlgorithmEx(cudnnHandle_t, A, const void*, B, const void*,        \
                                                               cudnnConvolutionDescriptor_t, C, void*, int, int*,    \
                                                               cudnnConvolution##KIND##AlgoPerf_t*, void*, size_t);  \
    cudnnStatus_t cudnnConvolution##DIRECTION(cudnnHandle_t, const void*, A, const void*, B, const void*,            \
                                              cudnnConvolutionDescriptor_t, cudnnConvolution##KIND##Algo_t, void*,   \
                                              size_t, const void*, C, void*);
STANDIN_CONVOLUTION(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
STANDIN_CONVOLUTION(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
STANDIN_CONVOLUTION(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t,
                    cudnnFilterDescriptor_t)
#undef STANDIN_CONVOLUTION
cudnnStatus_t cudnnGetConvolution2dForwardOutputDim(...);
cudnnStatus_t cudnnCreateDropoutDescriptor(...);
cudnnStatus_t cudnnDestroyDropoutDescriptor(...);
cudnnStatus_t cudnnSetDropoutDescriptor(...);
cudnnStatus_t cudnnDropoutGetStatesSize(...);
cudnnStatus_t cudnnCreateRNNDescriptor(...);
cudnnStatus_t cudnnDestroyRNNDescriptor(...);
cudnnStatus_t cudnnSetRNNDescriptor_v6(...);
cudnnStatus_t cudnnGetRNNParamsSize(...);
cudnnStatus_t cudnnGetRNNWorkspaceSize(...);
cudnnStatus_t cudnnGetRNNTrainingReserveSize(...);
cudnnStatus_t cudnnGetRNNLinLayerMatrixParams(...);
cudnnStatus_t cudnnGetRNNLinLayerBiasParams(...);
cudnnStatus_t cudnnGetFilterNdDescriptor(...);
cudnnStatus_t cudnnRNNForwardTraining(...);
cudnnStatus_t cudnnRNNForwardInference(...);
cudnnStatus_t cudnnRNNBackwardData(...);
cudnnStatus_t cudnnRNNBackwardWeights(...);
}

#endif
