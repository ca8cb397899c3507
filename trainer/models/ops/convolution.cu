// Convolution with a square kernel by cuDNN, forward and backward: maps and weights of one type, sums in float32.
//
// cuDNN's own ranking says which algorithm is taken, without a trial, as PyTorch does by default: the same one in each
// run on the same card. By stopwatch it tries all of them for each new geometry, and which one wins is chance.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudnn.h>
#include <executor.h>
#include <mem/mem_info.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace jittor {
extern cudnnHandle_t cudnn_handle;  // in its module for cuDNN
}

namespace convolution {

using Dims = std::array<int64_t, 4>;

// What is convolved: x (B,I,H,W) with w (O,I,k,k) to y (B,O,H',W').
struct Geometry {
    Dims x, w, y;
    int64_t stride, padding;
    Geometry(const Dims& x, const Dims& w, const Dims& y, int64_t stride, int64_t padding)
        : x(x), w(w), y(y), stride(stride), padding(padding) {}
};

// Which algorithms may be taken, and how one of them is found.
struct Choice {
    double workspace;  // bytes, of which `share` is the card's share
    bool deterministic, by_stopwatch;
    Choice(double share, double deterministic, double by_stopwatch)
        : workspace(share * jittor::mem_info.total_cuda_ram), deterministic(deterministic != 0),
          by_stopwatch(by_stopwatch != 0) {}
};

inline void check(cudnnStatus_t status) {
    if (status != CUDNN_STATUS_SUCCESS) throw std::runtime_error(std::string("cuDNN: ") + cudnnGetErrorString(status));
}

inline cudnnDataType_t type_of(const float*) { return CUDNN_DATA_FLOAT; }
inline cudnnDataType_t type_of(const __half*) { return CUDNN_DATA_HALF; }
inline cudnnDataType_t type_of(const __nv_bfloat16*) { return CUDNN_DATA_BFLOAT16; }

// A map, with its description.
struct Map {
    cudnnTensorDescriptor_t kind;
    void* data;
    template <class T>
    Map(const Dims& dims, const T* data) : data((void*)data) {
        check(cudnnCreateTensorDescriptor(&kind));
        check(cudnnSetTensor4dDescriptor(kind, CUDNN_TENSOR_NCHW, type_of(data), dims[0], dims[1], dims[2], dims[3]));
    }
    Map(const Map&) = delete;
    ~Map() { cudnnDestroyTensorDescriptor(kind); }
};

struct Weights {
    cudnnFilterDescriptor_t kind;
    void* data;
    template <class T>
    Weights(const Dims& dims, const T* data) : data((void*)data) {
        check(cudnnCreateFilterDescriptor(&kind));
        check(cudnnSetFilter4dDescriptor(kind, type_of(data), CUDNN_TENSOR_NCHW, dims[0], dims[1], dims[2], dims[3]));
    }
    Weights(const Weights&) = delete;
    ~Weights() { cudnnDestroyFilterDescriptor(kind); }
};

// The kind of a convolution. Tensor cores multiply numbers of two bytes; of four, they may round them to TF32 first.
struct Kind {
    cudnnConvolutionDescriptor_t kind;
    Kind(const Geometry& the, cudnnDataType_t type) {
        check(cudnnCreateConvolutionDescriptor(&kind));
        check(cudnnSetConvolution2dDescriptor(kind, the.padding, the.padding, the.stride, the.stride, 1, 1,
                                              CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        check(cudnnSetConvolutionMathType(kind, type == CUDNN_DATA_FLOAT ? CUDNN_DEFAULT_MATH : CUDNN_TENSOR_OP_MATH));
    }
    Kind(const Kind&) = delete;
    ~Kind() { cudnnDestroyConvolutionDescriptor(kind); }
};

// cuDNN's functions for the three directions, which take their operands in this order: x, w -> y …
struct Forward {
    static const int NUMBER = 0, ALGORITHMS = CUDNN_CONVOLUTION_FWD_ALGO_COUNT;
    using Found = cudnnConvolutionFwdAlgoPerf_t;
    static constexpr auto ranked = cudnnGetConvolutionForwardAlgorithm_v7;
    static constexpr auto timed = cudnnFindConvolutionForwardAlgorithmEx;
    static constexpr auto run = cudnnConvolutionForward;
};
// … w, gradient of y -> gradient of x …
struct ToMap {
    static const int NUMBER = 1, ALGORITHMS = CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT;
    using Found = cudnnConvolutionBwdDataAlgoPerf_t;
    static constexpr auto ranked = cudnnGetConvolutionBackwardDataAlgorithm_v7;
    static constexpr auto timed = cudnnFindConvolutionBackwardDataAlgorithmEx;
    static constexpr auto run = cudnnConvolutionBackwardData;
};
// … x, gradient of y -> gradient of w.
struct ToWeights {
    static const int NUMBER = 2, ALGORITHMS = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT;
    using Found = cudnnConvolutionBwdFilterAlgoPerf_t;
    static constexpr auto ranked = cudnnGetConvolutionBackwardFilterAlgorithm_v7;
    static constexpr auto timed = cudnnFindConvolutionBackwardFilterAlgorithmEx;
    static constexpr auto run = cudnnConvolutionBackwardFilter;
};

// The first of the algorithms `found`, best first, that may be taken and whose workspace is within bounds; where none
// is, the one with the smallest.
template <class Found>
const Found* best(const std::vector<Found>& found, const Choice& choice) {
    const Found* smallest = nullptr;
    for (const Found& one : found) {
        if (one.status != CUDNN_STATUS_SUCCESS) continue;
        if (choice.deterministic && one.determinism != CUDNN_DETERMINISTIC) continue;
        if (one.memory <= choice.workspace) return &one;
        if (!smallest || one.memory < smallest->memory) smallest = &one;
    }
    return smallest;
}

template <class Direction, class A, class B, class C>
typename Direction::Found chosen(const Kind& how, const A& a, const B& b, const C& c, const Choice& choice) {
    // Each may be there twice, with and without tensor cores.
    std::vector<typename Direction::Found> found(2 * Direction::ALGORITHMS);
    int number;
    check(
        Direction::ranked(jittor::cudnn_handle, a.kind, b.kind, how.kind, c.kind, found.size(), &number, found.data()));
    found.resize(number);
    const auto* one = best(found, choice);
    if (!one)
        throw std::runtime_error(std::string("cuDNN has no ") + (choice.deterministic ? "deterministic " : "") +
                                 "algorithm for this convolution");
    if (!choice.by_stopwatch) return *one;
    size_t largest = one->memory;
    for (const auto& other : found)
        if (other.status == CUDNN_STATUS_SUCCESS && other.memory <= choice.workspace)
            largest = std::max(largest, other.memory);
    const auto workspace = jittor::exe.alloc_temp(largest + 1);
    std::vector<typename Direction::Found> timed(2 * Direction::ALGORITHMS);
    check(Direction::timed(jittor::cudnn_handle, a.kind, a.data, b.kind, b.data, how.kind, c.kind, c.data, timed.size(),
                           &number, timed.data(), workspace.ptr, largest));
    timed.resize(number);
    const auto* fastest = best(timed, choice);
    return fastest ? *fastest : *one;
}

template <class Direction, class A, class B, class C>
void convolve(const Geometry& the, cudnnDataType_t type, const A& a, const B& b, const C& c, const Choice& choice) {
    using Key = std::array<int64_t, 17>;
    static std::map<Key, typename Direction::Found> remembered;
    const Kind how(the, type);
    Key key = {Direction::NUMBER, type, the.stride, the.padding, choice.deterministic};
    for (int i = 0; i < 4; i++) key[5 + i] = the.x[i], key[9 + i] = the.w[i], key[13 + i] = the.y[i];
    auto known = remembered.find(key);
    if (known == remembered.end()) known = remembered.emplace(key, chosen<Direction>(how, a, b, c, choice)).first;
    const auto& algorithm = known->second;
    check(cudnnSetConvolutionMathType(how.kind, algorithm.mathType));
    const auto workspace = jittor::exe.alloc_temp(algorithm.memory + 1);  // never nothing
    const float all = 1, none = 0;
    check(Direction::run(jittor::cudnn_handle, &all, a.kind, a.data, b.kind, b.data, how.kind, algorithm.algo,
                         workspace.ptr, algorithm.memory, &none, c.kind, c.data));
}

template <class T>
void forward(const Geometry& the, const T* x, const T* w, T* y, const Choice& choice) {
    convolve<Forward>(the, type_of(x), Map(the.x, x), Weights(the.w, w), Map(the.y, y), choice);
}

// gradient of y -> to_w, to_x; to_x may be null: x needs no gradient then.
template <class T>
void backward(const Geometry& the, const T* gradient, const T* x, const T* w, T* to_w, std::common_type_t<T>* to_x,
              const Choice& choice) {
    const Map of_y(the.y, gradient);
    convolve<ToWeights>(the, type_of(x), Map(the.x, x), of_y, Weights(the.w, to_w), choice);
    if (to_x) convolve<ToMap>(the, type_of(x), Weights(the.w, w), of_y, Map(the.x, to_x), choice);
}

}  // namespace convolution
