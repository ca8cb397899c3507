// The card: its memory, what is copied, launched and waited for, and the driver that speaks of it.
//
//     STANDIN_GIB   size of the card, in GiB (80)
//
// A context with its libraries takes half a GiB of it, as on a real one.
#include <sys/mman.h>

#include <atomic>
#include <mutex>
#include <unordered_map>

#include "standin.h"

namespace {

const char* const NAMES[] = {
    "launches",  "library_launches", "searches", "rankings", "uploads",     "uploaded_bytes", "blocking_uploads",
    "downloads", "downloaded_bytes", "copies",   "waits",    "allocations", "frees",          "bytes",
    "peak"};
enum {
    LAUNCHES,
    LIBRARY_LAUNCHES,
    SEARCHES,
    RANKINGS,
    UPLOADS,
    UPLOADED,
    BLOCKING,
    DOWNLOADS,
    DOWNLOADED,
    COPIES,
    WAITS,
    ALLOCATIONS,
    FREES,
    BYTES,
    PEAK,
    NUMBER
};
std::atomic<long long> counters[NUMBER];

std::mutex mutex;
std::unordered_map<void*, size_t> blocks;
cudaError_t last = cudaSuccess;

const long long CONTEXT = 512LL << 20;
const int CAPABILITY_MAJOR = 9, CAPABILITY_MINOR = 0;  // an H100's

long long card() {
    static const char* asked = getenv("STANDIN_GIB");
    static const long long bytes = (asked ? atof(asked) : 80.0) * (1LL << 30);
    return bytes;
}

cudaError_t failed(cudaError_t error) { return last = error; }

cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, bool blocks_host) {
    if (kind == cudaMemcpyHostToDevice) {
        counters[UPLOADS]++;
        counters[UPLOADED] += bytes;
        counters[BLOCKING] += blocks_host;
    } else if (kind == cudaMemcpyDeviceToHost) {
        counters[DOWNLOADS]++;
        counters[DOWNLOADED] += bytes;
    } else {
        counters[COPIES]++;
        return cudaSuccess;
    }
    memcpy(to, from, bytes);
    return cudaSuccess;
}

}  // namespace

extern "C" {

long long standin_counter(const char* name) {
    for (int i = 0; i < NUMBER; i++)
        if (!strcmp(name, NAMES[i])) return counters[i];
    return -1;
}

const char* standin_name(int i) { return i < NUMBER ? NAMES[i] : nullptr; }

void standin_launch(dim3 grid, dim3 threads, size_t shared) {
    counters[LAUNCHES]++;
    const unsigned long long in_block = 1ULL * threads.x * threads.y * threads.z;
    const bool fits = grid.x && grid.y && grid.z && in_block && grid.x <= 2147483647u && grid.y <= 65535 &&
                      grid.z <= 65535 && in_block <= 1024 && threads.z <= 64 && shared <= 48 << 10;
    if (!fits) failed(cudaErrorInvalidConfiguration);
}

void standin_library_launch() { counters[LIBRARY_LAUNCHES]++; }
void standin_search() { counters[SEARCHES]++; }
void standin_ranking() { counters[RANKINGS]++; }

cudaError_t cudaGetDeviceCount(int* number) { return *number = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int* number) { return *number = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaDeviceReset() { return cudaSuccess; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* card_, int) {
    *card_ = cudaDeviceProp();
    strcpy(card_->name, "stand-in");
    card_->totalGlobalMem = card();
    card_->major = CAPABILITY_MAJOR;
    card_->minor = CAPABILITY_MINOR;
    card_->multiProcessorCount = 132;
    card_->warpSize = 32;
    card_->maxThreadsPerBlock = 1024;
    card_->sharedMemPerBlock = 48 << 10;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? CAPABILITY_MAJOR : CAPABILITY_MINOR;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    *total = card();
    *free = card() - CONTEXT - counters[BYTES];
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** place, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    counters[ALLOCATIONS]++;
    if (counters[BYTES] + (long long)bytes + CONTEXT > card()) return failed(cudaErrorMemoryAllocation);
    void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return failed(cudaErrorMemoryAllocation);
    blocks[*place = block] = bytes;
    counters[BYTES] += bytes;
    if (counters[BYTES] > counters[PEAK]) counters[PEAK] = counters[BYTES].load();
    return cudaSuccess;
}

cudaError_t cudaFree(void* place) {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = blocks.find(place);
    if (!place) return cudaSuccess;
    if (found == blocks.end()) return failed(cudaErrorInvalidValue);
    counters[FREES]++;
    counters[BYTES] -= found->second;
    munmap(place, found->second);
    blocks.erase(found);
    return cudaSuccess;
}

cudaError_t cudaMallocManaged(void** place, size_t bytes, unsigned) { return cudaMalloc(place, bytes); }
cudaError_t cudaMallocHost(void** place, size_t bytes) { return *place = malloc(bytes), cudaSuccess; }
cudaError_t cudaFreeHost(void* place) { return free(place), cudaSuccess; }

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return copy(to, from, bytes, kind, true);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    return copy(to, from, bytes, kind, false);
}
cudaError_t cudaMemset(void*, int, size_t) { return cudaSuccess; }
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaDeviceSynchronize() { return counters[WAITS]++, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return counters[WAITS]++, cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return counters[WAITS]++, cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return *stream = (cudaStream_t)1, cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t call, void* data, unsigned) {
    return call(stream, cudaSuccess, data), cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t call, void* data) { return call(data), cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event, unsigned) { return *event = (cudaEvent_t)1, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return *event = (cudaEvent_t)1, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
    return *milliseconds = 1, cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = last;
    last = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return last; }
const char* cudaGetErrorName(cudaError_t error) {
    return error == cudaErrorMemoryAllocation       ? "cudaErrorMemoryAllocation"
           : error == cudaErrorInvalidConfiguration ? "cudaErrorInvalidConfiguration"
                                                    : "cudaErrorInvalidValue";
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

// ---- libcuda.so.1

int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int* number) { return *number = 1, 0; }
int cuDriverGetVersion(int* version) { return *version = 12020, 0; }
int cuDeviceGet(int* device, int) { return *device = 0, 0; }
int cuDeviceGetName(char* name, int size, int) { return snprintf(name, size, "stand-in"), 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = card(), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    return cudaDeviceGetAttribute(value, (cudaDeviceAttr)attribute, device);
}
int cuMemGetInfo_v2(size_t* free, size_t* total) { return cudaMemGetInfo(free, total); }

}  // extern "C"
