"""The update of all parameters in one operator, and the norm of all gradients in another.

Jittor's own optimizers make several small kernels for each rank of parameter and run them parameter by parameter. Here
a kernel has a table with a row for each parameter; the CPU's threads share out pieces of PIECE numbers of all rows, a
GPU gets a launch per row.

    row       in                              out
    SGD       parameter, gradient, momentum   parameter, momentum
    AdamW     parameter, gradient, m, v       parameter, m, v
"""

from __future__ import annotations

from trainer.device import jt

CPU_HEADER = r"""
#include <algorithm>
#include <cmath>
#include <vector>
namespace jittor {
struct UpdateRow { int64 number; const float* old[4]; float* now[3]; };
struct UpdatePiece { int row; int64 first, last; };
inline std::vector<UpdatePiece> update_pieces(const std::vector<UpdateRow>& rows) {
    std::vector<UpdatePiece> pieces;
    for (int row = 0; row < (int)rows.size(); row++)
        for (int64 first = 0; first < rows[row].number; first += 16384)
            pieces.push_back({row, first, std::min<int64>(first + 16384, rows[row].number)});
    return pieces;
}
} // namespace jittor
"""
# out0 norm (1)  out1 partial sums (GPU only)
CPU_NORM = r"""
    const std::vector<UpdateRow> rows = {@ROWS};
    const auto pieces = update_pieces(rows);
    std::vector<double> sums(pieces.size());
    #pragma omp parallel for schedule(static)
    for (int64 k = 0; k < (int64)pieces.size(); k++) {
        const float* __restrict__ gradient = rows[pieces[k].row].old[0];
        float sum = 0;
        for (int64 i = pieces[k].first; i < pieces[k].last; i++) sum += gradient[i] * gradient[i];
        sums[k] = sum;
    }
    double total = 0;
    for (const double sum : sums) total += sum;
    out0_p[0] = std::sqrt(total);
"""
# in0 norm (1)
CPU_UPDATE = r"""
    const std::vector<UpdateRow> rows = {@ROWS};
    const auto pieces = update_pieces(rows);
    const float factor = std::min((float)data["max_norm"] / (in0_p[0] + 1e-6f), 1.0f);
    @RATES
    #pragma omp parallel for schedule(static)
    for (int64 k = 0; k < (int64)pieces.size(); k++) {
        const UpdateRow& row = rows[pieces[k].row];
        const float* __restrict__ old0 = row.old[0], *__restrict__ old1 = row.old[1];
        const float* __restrict__ old2 = row.old[2], *__restrict__ old3 = row.old[3];
        float* __restrict__ now0 = row.now[0], *__restrict__ now1 = row.now[1], *__restrict__ now2 = row.now[2];
        for (int64 i = pieces[k].first; i < pieces[k].last; i++) { @RULE }
    }
"""
CUDA_HEADER = r"""
#include <algorithm>
#include <vector>
namespace jittor {
struct UpdateRow { int64 number; const float* old[4]; float* now[3]; };
__global__ void square_sums(int64 number, const float* gradient, float* sums) {
    __shared__ float shares[256];
    float sum = 0;
    for (int64 i = blockIdx.x * 256 + threadIdx.x; i < number; i += 256 * gridDim.x) sum += gradient[i] * gradient[i];
    shares[threadIdx.x] = sum;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shares[threadIdx.x] += shares[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = shares[0];
}
__global__ void root_of_sum(int number, const float* sums, float* norm) {
    double total = 0;
    for (int i = 0; i < number; i++) total += sums[i];
    *norm = sqrt(total);
}
__global__ void update_row(UpdateRow row, const float* norm, float max_norm, @PARAMETERS) {
    const float factor = min(max_norm / (*norm + 1e-6f), 1.0f);
    const float* old0 = row.old[0], *old1 = row.old[1], *old2 = row.old[2], *old3 = row.old[3];
    float* now0 = row.now[0], *now1 = row.now[1], *now2 = row.now[2];
    for (int64 i = blockIdx.x * 256 + threadIdx.x; i < row.number; i += 256 * gridDim.x) { @RULE }
}
} // namespace jittor
"""
CUDA_NORM = r"""
    const std::vector<UpdateRow> rows = {@ROWS};
    for (size_t row = 0; row < rows.size(); row++)
        square_sums<<<64, 256>>>(rows[row].number, rows[row].old[0], out1_p + row * 64);
    root_of_sum<<<1, 1>>>(rows.size() * 64, out1_p, out0_p);
"""
CUDA_UPDATE = r"""
    const std::vector<UpdateRow> rows = {@ROWS};
    @RATES
    for (const UpdateRow& row : rows)
        update_row<<<(int)std::min<int64>((row.number + 255) / 256, 4096), 256>>>(
            row, in0_p, (float)data["max_norm"], @ARGUMENTS);
"""
SGD_RULE = """
    const float slope = old1[i] * factor + decay * old0[i];
    const float momentum_now = momentum * old2[i] + slope;
    now1[i] = momentum_now;
    now0[i] = old0[i] - rate * (nesterov != 0 ? slope + momentum * momentum_now : momentum_now);
"""
ADAMW_RULE = """
    const float slope = old1[i] * factor;
    const float first = beta1 * old2[i] + (1 - beta1) * slope;
    const float second = beta2 * old3[i] + (1 - beta2) * slope * slope;
    now1[i] = first;
    now2[i] = second;
    now0[i] = old0[i] * shrink - step * first / (sqrtf(second) / root + eps);
"""


def gradient_norm(gradients: list[jt.Var]) -> jt.Var:
    """The L2 norm f32 (1,) of all numbers of all gradients f32 (...).

    Jittor's own sums in one float32 accumulator, which is off by percents at 20 million parameters.
    """
    count = len(gradients)
    rows = ", ".join(f"{{in{i}->num, {{in{i}_p}}, {{}}}}" for i in range(count))
    norm, _ = jt.code(
        [(1,), (count * 64,)],
        ["float32", "float32"],
        gradients,
        cpu_header=CPU_HEADER,
        cpu_src=CPU_NORM.replace("@ROWS", rows),
        cuda_header=CUDA_HEADER.replace("@PARAMETERS", "int").replace("@RULE", ""),
        cuda_src=CUDA_NORM.replace("@ROWS", rows),
    )
    return norm


def _update(rows: list[tuple[list[jt.Var], jt.Var]], norm: jt.Var, rule: str, numbers: dict[str, float]) -> None:
    """Applies `rule` to rows of (what changes, the parameter first) and gradient."""
    if not rows:
        return
    changing, inputs, table = [], [norm], []
    for variables, gradient in rows:
        first, out = len(inputs), len(changing)
        inputs += [variables[0], gradient, *variables[1:]]
        changing += variables
        ins = ", ".join(f"in{first + i}_p" for i in range(len(variables) + 1))
        outs = ", ".join(f"out{out + i}_p" for i in range(len(variables)))
        table.append(f"{{in{first}->num, {{{ins}}}, {{{outs}}}}}")
    names = [name for name in numbers if name != "max_norm"]
    words = {
        "@ROWS": ", ".join(table),
        "@RATES": " ".join(f'const float {name} = data["{name}"];' for name in names),
        "@PARAMETERS": ", ".join(f"float {name}" for name in names),
        "@ARGUMENTS": ", ".join(names),
        "@RULE": rule,
    }

    def filled(source: str) -> str:
        for word, text in words.items():
            source = source.replace(word, text)
        return source

    updated = jt.code(
        [tuple(variable.shape) for variable in changing],
        ["float32"] * len(changing),
        inputs,
        cpu_header=CPU_HEADER,
        cpu_src=filled(CPU_UPDATE),
        cuda_header=filled(CUDA_HEADER),
        cuda_src=filled(CUDA_UPDATE),
        data=numbers,
    )
    for variable, value in zip(changing, updated, strict=True):
        variable.update(value)


class SGD(jt.optim.SGD):
    """Jittor's SGD (and torch's) with its update in one operator."""

    def update(self, norm: jt.Var, max_norm: float) -> None:
        """Moves the parameters by the gradients of the last backward, scaled by max_norm / norm where that is below 1.

        Args:
            norm: f32 (1,), the gradients' norm.
        """
        for group in self.param_groups:
            rows = _rows(group, ("values",))
            numbers = {
                "max_norm": max_norm,
                "rate": group["lr"],
                "decay": group["weight_decay"],
                "momentum": self.momentum,
                "nesterov": float(self.nesterov),
            }
            _update(rows, norm, SGD_RULE, numbers)
        self.zero_grad()


class AdamW(jt.optim.AdamW):
    """Jittor's AdamW (and torch's) with its update in one operator."""

    def update(self, norm: jt.Var, max_norm: float) -> None:
        """See SGD.update."""
        beta1, beta2 = self.betas
        for group in self.param_groups:
            rows = _rows(group, ("m", "values"))
            numbers = {
                "max_norm": max_norm,
                "shrink": 1.0 - group["lr"] * group["weight_decay"],
                "step": group["lr"] / (1.0 - beta1**self.n_step),
                "root": (1.0 - beta2**self.n_step) ** 0.5,
                "eps": self.eps,
                "beta1": beta1,
                "beta2": beta2,
            }
            _update(rows, norm, ADAMW_RULE, numbers)
        self.zero_grad()


def _rows(group: dict, buffers: tuple[str, ...]) -> list[tuple[list[jt.Var], jt.Var]]:
    columns = zip(group["params"], group["grads"], *(group[name] for name in buffers), strict=True)
    return [([p, *more], g) for p, g, *more in columns if not p.is_stop_grad()]
