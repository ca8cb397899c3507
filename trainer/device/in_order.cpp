// Jittor's kernels for a GPU, compiled so that every sum is made in one order.
//
// Jittor has all threads share in a sum, each of which adds its part to the result when it comes to it. Here
//
//     sums that keep an axis       are made by a thread each, which the loops over kept axes, now outside, hand out
//     sums of everything           are shared by a block of threads, whose parts are added in the threads' order
//     sums that keep others each   in one kernel: by a single thread
//
// and what else adds when a thread comes to it is an error.
#include <fused_op.h>
#include <op_compiler.h>
#include <ops/op_register.h>
#include <ops/reduce_op.h>
#include <opt/pass_manager.h>
#include <opt/tuner_manager.h>

#include <regex>
#include <string>

namespace jittor {
extern jit_op_entry_t (*do_compile_hook)(Op*);
}

namespace in_order {

using std::regex;
using std::regex_replace;
using std::string;

const char* const ADD_IN_ORDER = R"(
template <class T, class U> __device__ inline void add_in_order(T* sum, U part) {
    __shared__ U parts[1024];
    parts[threadIdx.x] = part;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 0; i < blockDim.x; i++) *sum = *sum + parts[i];
    __syncthreads();
}
)";

// Whether a kernel of Jittor's adds, multiplies or counts numbers in the order in which its threads come to it.
inline bool in_any_order(const string& source) {
    for (const char* sign : {"atomicAdd(&", "atomicSub(&", "atomicInc(&", "cuda_atomic_mul("})
        if (source.find(sign) != string::npos) return true;
    return false;
}

// Axes of a fused operator's loops, as bits: those that all of its sums keep, and those that any of them keeps.
struct Axes {
    int number = 0;
    unsigned kept = ~0u, of_any = 0;
    bool sums_alone = true;  // and no reindex_reduce
    explicit Axes(const jittor::FusedOp& fused) {
        for (jittor::Op* op : fused.ops) {
            if (op->name() == string("reindex_reduce")) sums_alone = false;
            if (op->name() != string("reduce")) continue;
            const auto* reduce = (jittor::ReduceOp*)op;
            number = reduce->x->shape.size();
            const unsigned own = ~(unsigned)reduce->reduce_mask & ((1u << number) - 1);
            kept &= own, of_any |= own;
        }
    }
};

inline string reordered(jittor::OpCompiler& compiler, const Axes& axes) {
    auto& options = compiler.op->get_loop_options_tuned();
    int reduced = 0, outside = 0;
    for (int axis = 0; axis < axes.number; axis++) {
        const bool stays = axes.kept >> axis & 1;
        options["order" + std::to_string(axis)] = stays ? reduced : 0;
        (stays ? outside : reduced)++;
    }
    options["in_order"] = 1;
    options["max_parallel_depth"] = std::max(outside, 1);
    if (outside) options["merge_loop_var"] = 0;  // what is one loop then would not be counted as several
    compiler.op->update_jit_key();
    jittor::PassManager passes(&compiler);
    passes.run_passes();
    string source = passes.all.to_string();
    if (outside) return source;
    source = regex_replace(source, regex("atomicAdd\\(&"), "add_in_order(&");
    source.insert(source.find("__launch_bounds__"), ADD_IN_ORDER);
    const bool alone = axes.of_any;
    source = regex_replace(source, regex("int thread_num = [0-9]+;"),
                           alone ? "int thread_num = 1;" : "int thread_num = 1024;");
    return alone ? regex_replace(source, regex("tn0=std::max\\(tn0, 5\\);"), "tn0=std::max(tn0, 0);") : source;
}

inline jittor::jit_op_entry_t compile(jittor::Op* op) {
    jittor::OpCompiler compiler(op);
    for (auto* type : jittor::op_types) type->post_pass(&compiler);
    string source = compiler.op ? jittor::TunerManager(&compiler).tune() : compiler.src;
    if (compiler.op && in_any_order(source)) {
        const Axes axes(*compiler.op);
        if (axes.number && axes.sums_alone) source = reordered(compiler, axes);
    }
    op->compile_optimize(source);
    const bool ours = source.find("#line 1 \"trainer/") != string::npos;  // they count in integers alone
    if (in_any_order(source) && !ours) LOGf << "randomness.deterministic: the GPU would add up in any order in" << op;
    return compiler.compile(op->get_jit_key(jittor::get_jk()), source);
}

inline void install() { jittor::do_compile_hook = compile; }

}  // namespace in_order
