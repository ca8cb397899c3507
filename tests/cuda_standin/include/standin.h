// As much of CUDA 12.2, cuBLAS, cuDNN 8, cuRAND, cuFFT, cuSPARSE, CUB and cutt as Jittor names. The headers beside this
// one have the libraries' names, include this one and define the macros by which Jittor recognises them.
//
//     memory       is address space of the host, up to the card's size; untouched pages cost nothing
//     copies       are made between host and device; those within the device are counted only
//     launches     are counted and checked (blocks, threads, shared memory), and compute nothing
//     waits        return at once
//
// Functions that Jittor names and no network here calls end the process.
#ifndef STANDIN_H  // the file has several names, which #pragma once may take for several files
#define STANDIN_H
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define __host__
#define __device__
#define __global__
#define __shared__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

// By these Jittor sees which libraries there are.
#define __DRIVER_TYPES_H__
#define CUBLAS_API_H_
#define CUDNN_H_
#define CURAND_H_
#define CUSPARSEAPI
#define _CUFFT_H_

// ---- what kernels and the headers that they include name; nothing of it runs

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
static const dim3 threadIdx, blockIdx, blockDim, gridDim;
struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct int2 {
    int x, y;
};
struct int4 {
    int x, y, z, w;
};

template <class T>
T atomicAdd(T* place, T value) {
    return *place += value;
}
template <class T>
T atomicMax(T* place, T) {
    return *place;
}
template <class T>
T atomicMin(T* place, T) {
    return *place;
}
template <class T, class U>
T atomicCAS(T* place, U, U) {
    return *place;
}
inline void __syncthreads() {}
inline int __float_as_int(float value) { return int(value); }
inline float __int_as_float(int value) { return float(value); }
inline long long __double_as_longlong(double value) { return (long long)value; }
inline double __longlong_as_double(long long value) { return double(value); }

template <int KIND>
struct Half {
    uint16_t x;
    Half() = default;
    Half(float) : x(0) {}
    operator float() const { return 0.0f; }
};
typedef Half<0> __half;
typedef Half<1> __nv_bfloat16;
template <int KIND>
Half<KIND> __hmax(Half<KIND> a, Half<KIND>) {
    return a;
}
template <int KIND>
Half<KIND> __hmin(Half<KIND> a, Half<KIND>) {
    return a;
}
inline float __half2float(__half) { return 0.0f; }
inline unsigned short __half_as_ushort(__half value) { return value.x; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.x; }
inline __half __ushort_as_half(unsigned short) { return 0.0f; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short) { return 0.0f; }

#define NPP_MIN_32U 0
#define NPP_MAX_32U 4294967295U
#define NPP_MIN_32S (-2147483647 - 1)
#define NPP_MAX_32S 2147483647
#define NPP_MIN_64U 0
#define NPP_MAX_64U 18446744073709551615ULL
#define NPP_MIN_64S (-9223372036854775807LL - 1)
#define NPP_MAX_64S 9223372036854775807LL
#define CUDART_INF_F float(INFINITY)
#define CUDART_INF double(INFINITY)

// ---- the runtime

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaComputeModeProhibited = 2 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };
typedef struct StandinStream* cudaStream_t;
typedef struct StandinEvent* cudaEvent_t;
typedef void (*cudaHostFn_t)(void*);
typedef void (*cudaStreamCallback_t)(cudaStream_t, cudaError_t, void*);
#define CUDART_CB

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock;
    int major, minor, computeMode, clockRate, multiProcessorCount, warpSize, maxThreadsPerBlock, integrated;
};

extern "C" {
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaGetDevice(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaDeviceReset();
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaMallocManaged(void**, size_t, unsigned = 1);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemcpy(void*, const void*, size_t, cudaMemcpyKind);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t = nullptr);
cudaError_t cudaMemset(void*, int, size_t);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t = nullptr);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0);
cudaError_t cudaStreamAddCallback(cudaStream_t, cudaStreamCallback_t, void*, unsigned);
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t, void*);
cudaError_t cudaEventCreate(cudaEvent_t*, unsigned = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
void standin_launch(dim3 blocks, dim3 threads, size_t shared);
void standin_library_launch();
}
template <class T>
cudaError_t cudaMalloc(T** place, size_t bytes) {
    return cudaMalloc((void**)place, bytes);
}
template <class T>
cudaError_t cudaMallocHost(T** place, size_t bytes) {
    return cudaMallocHost((void**)place, bytes);
}
template <class T>
cudaError_t cudaMallocManaged(T** place, size_t bytes) {
    return cudaMallocManaged((void**)place, bytes);
}
template <class T>
cudaError_t cudaFuncSetAttribute(T, int, int) {
    return cudaSuccess;
}
enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

// What nvcc.py makes of kernel<<<blocks, threads, shared>>>(arguments).
struct StandinKernel {
    StandinKernel(dim3 blocks, dim3 threads, size_t shared = 0, cudaStream_t = nullptr) {
        standin_launch(blocks, threads, shared);
    }
    template <class... A>
    void operator()(A&&...) const {}
};

namespace jittor {
template <class T>
void fix_float(T*, int number) {
    standin_launch(dim3(number < 262144 ? (number - 1) / 1024 + 1 : 256), dim3(1024), 0);
}
}  // namespace jittor

// ---- cuBLAS

enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
typedef cudaDataType_t cudaDataType;
typedef struct StandinCublas* cublasHandle_t;
enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_ARCH_MISMATCH = 8,
    CUBLAS_STATUS_MAPPING_ERROR = 11,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_INTERNAL_ERROR = 14,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
    CUBLAS_STATUS_LICENSE_ERROR = 16
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1, CUBLAS_GEMM_DEFAULT_TENSOR_OP = 99 };
enum cublasComputeType_t {
    CUBLAS_COMPUTE_16F = 64,
    CUBLAS_COMPUTE_32F = 68,
    CUBLAS_COMPUTE_64F = 70,
    CUBLAS_COMPUTE_32F_FAST_16F = 74,
    CUBLAS_COMPUTE_32F_FAST_16BF = 75,
    CUBLAS_COMPUTE_32F_FAST_TF32 = 77
};
extern "C" {
cublasStatus_t cublasCreate(cublasHandle_t*);
cublasStatus_t cublasDestroy(cublasHandle_t);
cublasStatus_t cublasGemmEx(...);
cublasStatus_t cublasGemmStridedBatchedEx(...);
cublasStatus_t cublasSgemm(...);
cublasStatus_t cublasDgemm(...);
}

#include "cudnn.h"

// ---- cuRAND

enum curandStatus_t {
    CURAND_STATUS_SUCCESS = 0,
    CURAND_STATUS_VERSION_MISMATCH = 100,
    CURAND_STATUS_NOT_INITIALIZED,
    CURAND_STATUS_ALLOCATION_FAILED,
    CURAND_STATUS_TYPE_ERROR,
    CURAND_STATUS_OUT_OF_RANGE,
    CURAND_STATUS_LENGTH_NOT_MULTIPLE,
    CURAND_STATUS_DOUBLE_PRECISION_REQUIRED,
    CURAND_STATUS_LAUNCH_FAILURE = 201,
    CURAND_STATUS_PREEXISTING_FAILURE,
    CURAND_STATUS_INITIALIZATION_FAILED,
    CURAND_STATUS_ARCH_MISMATCH,
    CURAND_STATUS_INTERNAL_ERROR = 999
};
enum { CURAND_RNG_PSEUDO_DEFAULT = 100 };
typedef struct StandinCurand* curandGenerator_t;
extern "C" {
curandStatus_t curandCreateGenerator(curandGenerator_t*, int);
curandStatus_t curandDestroyGenerator(curandGenerator_t);
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long);
curandStatus_t curandGenerateUniform(curandGenerator_t, float*, size_t);
curandStatus_t curandGenerateUniformDouble(curandGenerator_t, double*, size_t);
curandStatus_t curandGenerateNormal(curandGenerator_t, float*, size_t, float, float);
curandStatus_t curandGenerateNormalDouble(curandGenerator_t, double*, size_t, double, double);
}

// ---- cuFFT and cuSPARSE, which are loaded and not used

enum cufftResult {
    CUFFT_SUCCESS,
    CUFFT_INVALID_PLAN,
    CUFFT_ALLOC_FAILED,
    CUFFT_INVALID_TYPE,
    CUFFT_INVALID_VALUE,
    CUFFT_INTERNAL_ERROR,
    CUFFT_EXEC_FAILED,
    CUFFT_SETUP_FAILED,
    CUFFT_INVALID_SIZE,
    CUFFT_UNALIGNED_DATA,
    CUFFT_INCOMPLETE_PARAMETER_LIST,
    CUFFT_INVALID_DEVICE,
    CUFFT_PARSE_ERROR,
    CUFFT_NO_WORKSPACE,
    CUFFT_NOT_IMPLEMENTED,
    CUFFT_LICENSE_ERROR,
    CUFFT_NOT_SUPPORTED
};
enum cufftType_t { CUFFT_C2C = 0x29, CUFFT_Z2Z = 0x69 };
enum { CUFFT_FORWARD = -1, CUFFT_INVERSE = 1 };
typedef int cufftHandle;
typedef float2 cufftComplex;
struct cufftDoubleComplex {
    double x, y;
};
extern "C" {
cufftResult cufftCreate(...);
cufftResult cufftDestroy(...);
cufftResult cufftPlanMany(...);
cufftResult cufftSetStream(...);
cufftResult cufftExecC2C(...);
cufftResult cufftExecZ2Z(...);
}

enum cusparseStatus_t {
    CUSPARSE_STATUS_SUCCESS,
    CUSPARSE_STATUS_NOT_INITIALIZED,
    CUSPARSE_STATUS_ALLOC_FAILED,
    CUSPARSE_STATUS_INVALID_VALUE,
    CUSPARSE_STATUS_ARCH_MISMATCH,
    CUSPARSE_STATUS_MAPPING_ERROR,
    CUSPARSE_STATUS_EXECUTION_FAILED,
    CUSPARSE_STATUS_INTERNAL_ERROR,
    CUSPARSE_STATUS_MATRIX_TYPE_NOT_SUPPORTED,
    CUSPARSE_STATUS_ZERO_PIVOT
};
enum cusparseIndexType_t { CUSPARSE_INDEX_32I = 2, CUSPARSE_INDEX_64I = 3 };
enum cusparseOperation_t { CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_TRANSPOSE };
enum {
    CUSPARSE_INDEX_BASE_ZERO = 0,
    CUSPARSE_ORDER_ROW = 2,
    CUSPARSE_SPMM_ALG_DEFAULT = 0,
    CUSPARSE_SPMM_CSR_ALG2 = 6
};
typedef struct StandinCusparse* cusparseHandle_t;
typedef struct StandinSparse* cusparseSpMatDescr_t;
typedef struct StandinDense* cusparseDnMatDescr_t;
extern "C" {
cusparseStatus_t cusparseCreate(cusparseHandle_t*);
cusparseStatus_t cusparseDestroy(cusparseHandle_t);
cusparseStatus_t cusparseCreateCsr(...);
cusparseStatus_t cusparseCreateCoo(...);
cusparseStatus_t cusparseCreateDnMat(...);
cusparseStatus_t cusparseDestroySpMat(...);
cusparseStatus_t cusparseDestroyDnMat(...);
cusparseStatus_t cusparseSpMM(...);
cusparseStatus_t cusparseSpMM_bufferSize(...);
}

// ---- CUB: the first call of each function asks how much memory it would like, the second one is a launch

namespace cub {
template <class K, class V>
struct KeyValuePair {
    K key;
    V value;
};
template <class T>
struct CountingInputIterator {
    CountingInputIterator(T) {}
};
template <class T, class F, class I>
struct TransformInputIterator {
    TransformInputIterator(I, F) {}
};
template <class... A>
cudaError_t standin(void* memory, size_t& bytes, A&&...) {
    if (memory)
        standin_library_launch();
    else
        bytes = 1 << 20;
    return cudaSuccess;
}
#define STANDIN_CUB(NAME)                                               \
    template <class... A>                                               \
    static cudaError_t NAME(void* memory, size_t& bytes, A&&... more) { \
        return standin(memory, bytes, more...);                         \
    }
struct DeviceSegmentedReduce {
    STANDIN_CUB(ArgMin)
    STANDIN_CUB(ArgMax)
};
struct DeviceSegmentedRadixSort {
    STANDIN_CUB(SortPairs)
    STANDIN_CUB(SortPairsDescending)
};
struct DeviceRadixSort {
    STANDIN_CUB(SortPairs)
    STANDIN_CUB(SortPairsDescending)
    STANDIN_CUB(SortKeys)
    STANDIN_CUB(SortKeysDescending)
};
struct DeviceScan {
    STANDIN_CUB(InclusiveSum)
};
struct DeviceSelect {
    STANDIN_CUB(Flagged)
};
#undef STANDIN_CUB
}  // namespace cub
namespace thrust {
template <class I>
I make_reverse_iterator(I place) {
    return place;
}
}  // namespace thrust

// ---- cutt

typedef unsigned cuttHandle;
extern "C" {
int cuttPlan(cuttHandle*, int, int*, int*, size_t, cudaStream_t);
int cuttExecute(cuttHandle, void*, void*);
}
extern void (*custom_cuda_malloc)(void**, size_t, size_t&);
extern void (*custom_cuda_free)(void*, size_t, size_t&);

#endif
