// A cuDNN that computes convolutions by their definition on the CPU, behind as much of its interface as ours calls, and
// prints which algorithm it was told to take.
//
//     0   cannot do it
//     1   wants more workspace than a hundredth of the card; deterministic
//     2   64 bytes, by tensor cores
//     3   128 bytes; deterministic
//     4   nothing; only the stopwatch finds it, and finds it the fastest
#include <cudnn.h>

#include <cstdlib>

struct __nv_bfloat16 {
    unsigned short bits;
};

struct Tensor {
    cudnnDataType_t type;
    int dims[4];
    long place(int a, int b, int c, int d) const { return ((a * (long)dims[1] + b) * dims[2] + c) * dims[3] + d; }
    float at(const void* data, long i) const {
        return type == CUDNN_DATA_FLOAT ? ((const float*)data)[i] : (float)((const __half*)data)[i];
    }
    void set(void* data, long i, float value) const {
        if (type == CUDNN_DATA_FLOAT)
            ((float*)data)[i] = value;
        else
            ((__half*)data)[i] = (__half)value;
    }
    long count() const { return (long)dims[0] * dims[1] * dims[2] * dims[3]; }
};
struct StandinTensor : Tensor {};
struct StandinFilter : Tensor {};
struct StandinConvolution {
    int padding[2], stride[2], dilation[2];
    cudnnConvolutionMode_t mode;
    cudnnDataType_t sums;
    cudnnMathType_t math;
};

inline void require(bool holds, const char* what) {
    if (!holds) fprintf(stderr, "cuDNN: %s\n", what), abort();
}

#define DESCRIPTOR(KIND)                                                            \
    cudnnStatus_t cudnnCreate##KIND##Descriptor(cudnn##KIND##Descriptor_t* made) {  \
        return *made = new Standin##KIND(), CUDNN_STATUS_SUCCESS;                   \
    }                                                                               \
    cudnnStatus_t cudnnDestroy##KIND##Descriptor(cudnn##KIND##Descriptor_t which) { \
        return delete which, CUDNN_STATUS_SUCCESS;                                  \
    }
DESCRIPTOR(Tensor)
DESCRIPTOR(Filter)
DESCRIPTOR(Convolution)
const char* cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_ALLOC_FAILED";
}
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t which, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
    require(format == CUDNN_TENSOR_NCHW, "maps are NCHW");
    return (Tensor&)*which = Tensor{type, {n, c, h, w}}, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t which, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int o, int i, int h, int w) {
    require(format == CUDNN_TENSOR_NCHW, "weights are OIHW");
    return (Tensor&)*which = Tensor{type, {o, i, h, w}}, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t which, int padding_y, int padding_x,
                                              int stride_y, int stride_x, int dilation_y, int dilation_x,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t sums) {
    *which = {{padding_y, padding_x}, {stride_y, stride_x}, {dilation_y, dilation_x}, mode, sums, CUDNN_DEFAULT_MATH};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t which, cudnnMathType_t math) {
    return which->math = math, CUDNN_STATUS_SUCCESS;
}

template <class A>
struct Known {
    StandinPerformance<A> of(int number) const {
        StandinPerformance<A> one = {};
        one.algo = (A)number;
        one.status = number ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
        one.memory = number == 1 ? jittor::mem_info.total_cuda_ram / 100 + 1 : number == 2 ? 64 : number == 3 ? 128 : 0;
        one.determinism = number % 2 ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
        one.mathType = number == 2 ? CUDNN_TENSOR_OP_MATH : CUDNN_DEFAULT_MATH;
        return one;
    }
    int list(std::vector<int> numbers, int room, StandinPerformance<A>* found) const {
        require((int)numbers.size() <= room, "there is no room for all algorithms");
        for (int number : numbers) *found++ = of(number);
        return numbers.size();
    }
};

// For every product of a convolution: call(place in x, in w, in y).
template <class Call>
void products(const Tensor& x, const Tensor& w, const Tensor& y, const StandinConvolution& how, Call call) {
    require(how.mode == CUDNN_CROSS_CORRELATION && how.sums == CUDNN_DATA_FLOAT, "a correlation, summed in float32");
    require(x.type == w.type && w.type == y.type, "one type");
    require(x.dims[0] == y.dims[0] && x.dims[1] == w.dims[1] && y.dims[1] == w.dims[0], "shapes that fit");
    for (int n = 0; n < y.dims[0]; n++)
        for (int o = 0; o < y.dims[1]; o++)
            for (int i = 0; i < x.dims[1]; i++)
                for (int p = 0; p < y.dims[2]; p++)
                    for (int q = 0; q < y.dims[3]; q++)
                        for (int r = 0; r < w.dims[2]; r++)
                            for (int s = 0; s < w.dims[3]; s++) {
                                const int h = p * how.stride[0] - how.padding[0] + r * how.dilation[0];
                                const int v = q * how.stride[1] - how.padding[1] + s * how.dilation[1];
                                if (h >= 0 && h < x.dims[2] && v >= 0 && v < x.dims[3])
                                    call(x.place(n, i, h, v), w.place(o, i, r, s), y.place(n, o, p, q));
                            }
}

struct Sums {
    std::vector<float> values;
    const Tensor& kind;
    explicit Sums(const Tensor& kind) : values(kind.count()), kind(kind) {}
    void write(void* data) const {
        for (long i = 0; i < kind.count(); i++) kind.set(data, i, values[i]);
    }
};

// Their first operand, second operand and result, as x, w and y of `products`, and what is added to the result.
#define CONVOLUTION(DIRECTION, KIND, A, B, C, X, W, Y, TO, FROM, BY)                                                  \
    cudnnStatus_t cudnnGetConvolution##DIRECTION##Algorithm_v7(cudnnHandle_t, A, B, cudnnConvolutionDescriptor_t, C,  \
                                                               int room, int* number,                                 \
                                                               cudnnConvolution##KIND##AlgoPerf_t* found) {           \
        return *number = Known<cudnnConvolution##KIND##Algo_t>().list({0, 1, 2, 3}, room, found),                     \
               CUDNN_STATUS_SUCCESS;                                                                                  \
    }                                                                                                                 \
    cudnnStatus_t cudnnFindConvolution##DIRECTION##AlgorithmEx(                                                       \
        cudnnHandle_t, A, const void*, B, const void*, cudnnConvolutionDescriptor_t, C, void*, int room, int* number, \
        cudnnConvolution##KIND##AlgoPerf_t* found, void*, size_t workspace) {                                         \
        require(workspace == 128, "room for each algorithm that may be taken");                                       \
        return *number = Known<cudnnConvolution##KIND##Algo_t>().list({0, 4, 3, 2}, room, found),                     \
               CUDNN_STATUS_SUCCESS;                                                                                  \
    }                                                                                                                 \
    cudnnStatus_t cudnnConvolution##DIRECTION(cudnnHandle_t, const void* all, A a, const void* a_data, B b,           \
                                              const void* b_data, cudnnConvolutionDescriptor_t how,                   \
                                              cudnnConvolution##KIND##Algo_t algorithm, void* workspace, size_t size, \
                                              const void* none, C c, void* c_data) {                                  \
        const auto one = Known<cudnnConvolution##KIND##Algo_t>().of(algorithm);                                       \
        require(workspace && size == one.memory && how->math == one.mathType, "workspace and mathematics");           \
        require(*(const float*)all == 1 && *(const float*)none == 0, "a result that replaces what was there");        \
        printf(#DIRECTION " %d\n", algorithm);                                                                        \
        Sums sums(*c);                                                                                                \
        products(*X, *W, *Y, *how,                                                                                    \
                 [&](long x, long w, long y) { sums.values[TO] += a->at(a_data, FROM) * b->at(b_data, BY); });        \
        return sums.write(c_data), CUDNN_STATUS_SUCCESS;                                                              \
    }
CONVOLUTION(Forward, Fwd, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, a, b, c, y, x, w)
CONVOLUTION(BackwardData, BwdData, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, c, a, b,
            x, w, y)
CONVOLUTION(BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, a, c,
            b, w, x, y)

namespace jittor {
cudnnHandle_t cudnn_handle;
}
