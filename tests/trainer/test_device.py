"""Starting Jittor: what is refused, what is given back, uploads. Each start-up runs in a process of its own."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shared.config import load_config
from shared.errors import UserError
from trainer import device
from trainer.__main__ import _import_jittor
from trainer.api import Detector
from trainer.device import ARITHMETIC_LENGTH, blank, in_order, jt, kernels, mode, var
from trainer.device.kernels import in_one_step, kernel, precompiled_headers, without_fast_math
from trainer.device.mode import Mode
from trainer.process.gpu import Card, Gpu
from trainer.process.interrupt import Interrupt

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Python code in a fresh process at the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_numpy_2_is_refused_before_jittor_loads() -> None:
    result = run(
        """
        import sys, numpy
        numpy.__version__ = "2.1.0"
        from shared.errors import UserError
        try:
            import trainer.device
        except UserError as error:
            print(error, "jittor" in sys.modules)
        """
    )
    assert "numpy 2.1.0" in result.stdout
    assert "False" in result.stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="trace_py_var works before Python 3.11")
def test_trace_py_var_is_refused() -> None:
    result = run("import trainer.device", trace_py_var="3")
    assert "UserError: environment variable trace_py_var='3'" in result.stderr


def test_missing_onednn_names_the_package_to_install(tmp_path: Path) -> None:
    result = run(
        """
        import importlib.util
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "jittor_offline" else found(name, *rest)
        import trainer.device
        """,
        HOME=str(tmp_path),
    )
    assert "pip install jittor-offline" in result.stderr


def test_the_process_gets_its_hooks_back_and_torch_stays_out() -> None:
    result = run(
        """
        import resource, signal, ssl, sys
        before = sys.exit, sys.excepthook, resource.getrlimit(resource.RLIMIT_STACK), ssl._create_default_https_context
        import trainer.device
        after = sys.exit, sys.excepthook, resource.getrlimit(resource.RLIMIT_STACK), ssl._create_default_https_context
        assert before == after
        assert sys.getrecursionlimit() <= 10_000
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not {"torch", "mmcv", "mmdet"} & set(sys.modules)
        print("as before")
        """
    )
    assert result.stdout.strip() == "as before", result.stderr


def test_ctrl_c_raises_and_a_killed_child_is_survived() -> None:
    result = run(
        """
        import os, signal, subprocess, time
        import trainer.device
        child = subprocess.Popen(["sleep", "60"])
        child.kill()
        child.wait()
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert result.stdout.strip() == "interrupted", result.stderr


def test_what_the_process_forks_at_its_very_end_dies_with_it() -> None:
    result = run(
        """
        import multiprocessing, os, time
        import trainer.device
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        print(child.pid, flush=True)
        os._exit(0)
        """
    )
    # `run` returns when nobody holds the pipe any more, which the child had, too, and gives up before the child's end.
    assert result.returncode == 0 and int(result.stdout), result.stderr


def test_starting_with_a_compiled_core_says_nothing() -> None:
    result = run("import trainer.device")
    assert (result.stdout, result.stderr) == ("", "")


def test_jittor_takes_the_flags_that_keep_a_gpus_memory_flat_from_the_environment() -> None:
    result = run(
        """
        import os, trainer.device as device
        print(*(getattr(device.jt.flags, name) == int(value) for name, value in device.GPU_MEMORY.items()))
        for name in device.GPU_MEMORY:
            del os.environ[name]
        device._set_environment(True)
        print(*(os.environ[name] == value for name, value in device.GPU_MEMORY.items()))
        """,
        **device.GPU_MEMORY,
    )
    assert result.stdout.split() == ["True"] * 6, result.stdout + result.stderr


def test_kernels_for_a_gpu_are_built_without_fast_math() -> None:
    """In the words that Jittor adds to nvcc's flags, wherever it does so."""
    found = importlib.util.find_spec("jittor")
    (added,) = re.findall(
        r'nvcc_flags \+= f"(.*fast.math.*)"\n', Path(found.origin).with_name("compiler.py").read_text()
    )
    assert re.search("fast.math", added) and not re.search("fast.math", without_fast_math(added))


def test_onednn_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = device.onednn_flags()
    monkeypatch.setattr(device, "onednn_homes", lambda: pytest.fail("searched again"))
    assert device.onednn_flags() == flags and "-lmkldnn" in flags


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "float16", "float32"])
def test_an_upload_keeps_its_dtype_whatever_the_memory_order(dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for view in (array, array.transpose(2, 0, 1), array[:, ::2]):
        uploaded = var(view)
        assert str(uploaded.dtype) == dtype
        np.testing.assert_array_equal(uploaded.numpy(), view)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros(3, np.int64), np.array([None]), np.zeros(3, ">f4")])
def test_a_dtype_without_exact_counterpart_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(TypeError, match="cannot upload"):
        var(bad)


@pytest.mark.skipif(bool(jt.flags.use_cuda), reason="the memory of a GPU is not written by the CPU")
def test_what_is_written_behind_a_blank_array_is_its_value() -> None:
    values = np.random.default_rng(0).integers(0, 256, (2, 40, 64, 3), dtype=np.uint8)
    arrays = []
    for step in range(3):  # memory that the one before had must not come back while that lives
        array, memory = blank(values.shape, "uint8")
        memory[:] = values + step
        arrays.append(array)
    for step, array in enumerate(arrays):
        np.testing.assert_array_equal(array.numpy(), values + step)
        assert array.int32().sum().item() == (values + step).sum()


def test_an_upload_is_a_copy() -> None:
    array = np.ones((4, 5), np.float32)
    uploaded = var(array)
    array[:] = 7
    assert uploaded.sum().item() == 20


def test_a_kernel_is_named_by_its_place_in_the_repository_wherever_that_is() -> None:
    sources = kernel(str(ROOT / "trainer" / "training" / "update.py"), "update::measure({}, out0_p, out1_p);")
    assert sorted(sources) == ["cpu_header", "cpu_src", "cuda_header", "cuda_src"]
    for header in (sources["cpu_header"], sources["cuda_header"]):
        assert '#line 1 "trainer/training/update.c' in header and '#line 1 "trainer/training/update_rules.h"' in header
        assert str(ROOT) not in header and '#include "' not in header


def test_a_kernels_files_are_read_once_however_often_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module = str(ROOT / "trainer" / "training" / "update.py")
    first = kernel(module, "one")
    monkeypatch.setattr(Path, "resolve", None)
    monkeypatch.setattr(Path, "read_text", None)
    assert kernel(module, "two") == first | {"cpu_src": "two", "cuda_src": "two"}


def test_a_mistake_in_a_kernel_is_reported_by_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "_ROOT", tmp_path)
    (tmp_path / "quarter.h").write_text("#include <cmath>\n")
    (tmp_path / "half.cpp").write_text(
        '// Halves.\n#include <cstdint>\n\n#include "quarter.h"\n\ninline float half(float x) { return mistake * x; }\n'
    )
    half = jt.code((1,), "float32", [jt.ones(1)], **kernel(str(tmp_path / "half.py"), "out0_p[0] = half(in0_p[0]);"))
    with pytest.raises(RuntimeError):
        half.sync()
    assert "half.cpp:6:" in capfd.readouterr().err


def test_a_kernels_source_names_file_and_line_at_its_begin_and_behind_every_include(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path.resolve()
    monkeypatch.setattr(kernels, "_ROOT", root)
    (root / "a.cpp").write_text('#include <cmath>\nint a;\n#include "a.h"\nint b;\n')
    (root / "a.h").write_text("int c;\n")
    own = ['#line 1 "a.h"', "int c;", '#line 1 "(written by Jittor)"', ""]
    expected = ['#line 1 "a.cpp"', "#include <cmath>", '#line 2 "a.cpp"', "int a;", *own, '#line 4 "a.cpp"', "int b;"]
    source = kernel(str(root / "a.py"), "")["cpu_header"]
    assert source.split("\n") == [*expected, '#line 1 "(written by Jittor)"', ""]


def test_kernels_take_their_headers_from_a_file_that_was_compiled_before(tmp_path: Path) -> None:
    own = jt.flags.cc_flags.partition(" -include ")[0]
    more = precompiled_headers(jt.flags.cc_path, own, tmp_path)
    (compiled,) = tmp_path.glob("*.gch")
    made = compiled.stat().st_mtime_ns
    assert precompiled_headers(jt.flags.cc_path, own, tmp_path) == more
    assert compiled.stat().st_mtime_ns == made
    (tmp_path / "kernel.cc").write_text('#define JIT 1\n#define JIT_cpu 1\n#include "var.h"\njittor::Var* none;\n')
    compile_only = [word for word in shlex.split(own + more) if not word.startswith(("-l", "-L", "-shared"))]
    command = [jt.flags.cc_path, str(tmp_path / "kernel.cc"), *compile_only, "-g", "-S", "-H", "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"! {compiled}" in done.stderr  # g++'s mark for a file that it took


@pytest.mark.parametrize(
    ("script", "text", "called"),
    [
        ("utils/asm_tuner.py", "float x;", "compiler kernel_op.cc -O2 -o kernel_op.so"),
        ("utils/asm_tuner.py", "// @begin replace", "python utils/asm_tuner.py --cc_path=COMPILER kernel_op.cc -O2"),
        ("utils/dlink_compiler.py", "float x;", "python utils/dlink_compiler.py --cc_path=COMPILER kernel_op.cc -O2"),
    ],
)
def test_a_kernel_is_compiled_at_once_unless_jittors_script_has_something_to_do(
    script: str, text: str, called: str, tmp_path: Path
) -> None:
    for name in ("python", "compiler"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "kernel_op.cc").write_text(text)
    program = in_one_step(str(tmp_path / "python"), tmp_path)
    assert in_one_step(str(tmp_path / "python"), tmp_path) == program
    command = f'{program} {script} --cc_path="{tmp_path}/compiler" "kernel_op.cc" -O2 -o "kernel_op.so"'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().startswith(called.replace("COMPILER", f"{tmp_path}/compiler"))


@pytest.mark.skipif(bool(jt.flags.use_cuda), reason="of a GPU's kernels nvcc makes a library at once")
def test_jittor_calls_that_program() -> None:
    assert in_one_step(sys.executable, Path(jt.flags.cache_path)) == jt.flags.python_path != sys.executable


def test_where_no_program_can_be_written_jittor_calls_python(tmp_path: Path) -> None:
    assert in_one_step("/usr/bin/python3", tmp_path / "missing") == "/usr/bin/python3"
    (tmp_path / "with space").mkdir()
    assert in_one_step("/usr/bin/python3", tmp_path / "with space") == "/usr/bin/python3"


def test_without_a_compiler_for_them_headers_are_read_as_ever(tmp_path: Path) -> None:
    assert precompiled_headers(str(tmp_path / "g++"), jt.flags.cc_flags, tmp_path) == ""
    assert not list(tmp_path.iterdir())


def test_the_seed_fixes_random_numbers() -> None:
    device.seed(5)
    first = jt.rand(10).numpy()
    device.seed(5)
    np.testing.assert_array_equal(first, jt.rand(10).numpy())
    assert (first != jt.rand(10).numpy()).any()


def test_the_device_describes_itself() -> None:
    before = device.device_memory()
    kept = jt.ones((8 << 20,)).sync()
    assert device.device_memory() >= max(before, kept.numel() * 4)
    assert device.jit_kernel_count() > 0
    assert ("GPU" if jt.flags.use_cuda else "CPU") in device.describe()
    assert "\n" not in device.describe()


def test_the_arithmetic_is_that_of_as_many_threads_as_there_are() -> None:
    asked = "from trainer.device import arithmetic, describe; print(arithmetic()); print(describe())"
    for threads, words in (("1", "1 OpenMP thread"), ("3,2", "3 OpenMP threads")):
        arithmetic, described = run(asked, OMP_NUM_THREADS=threads).stdout.splitlines()
        if not jt.flags.use_cuda:
            assert arithmetic.startswith("CPU (") and arithmetic.endswith(f", {words}")
        assert f" on {arithmetic}, " in described


def test_the_tiniest_numbers_are_zero_in_every_thread_before_there_is_a_kernel() -> None:
    result = run(
        """
        import ctypes
        import numpy as np
        import trainer.device
        small, found = (np.float32(1e-30), np.float32(1e-10)), []
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: found.append(float(small[0] * small[1])))
        work(None)
        ctypes.CDLL("libgomp.so.1").GOMP_parallel(work, None, 4, 0)  # what a parallel loop of C++ calls
        print(found)
        """
    )
    assert result.stdout.strip() == str([0.0] * 5), result.stderr


IMPORT = """
from shared.errors import UserError
try:
    from trainer.device import describe
    print(describe())
except UserError as error:
    print(error)
"""


def test_a_home_that_cannot_be_written_is_one_line_with_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(IMPORT, HOME=f"{tmp_path}/file", JITTOR_HOME="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Jittor compiles its kernels into {tmp_path}/file/.cache/jittor, which cannot be written: Not a directory; "
        "free some space, or set JITTOR_HOME to a folder that you may write to\n"
    )


def test_jittor_home_is_enough_where_home_cannot_be_written() -> None:
    home = os.environ.get("JITTOR_HOME") or str(Path.home())
    done = run(IMPORT, HOME="/proc", JITTOR_HOME=home)
    assert done.returncode == 0, done.stderr
    assert f"kernels in {home}/.cache/jittor" in done.stdout


# A driver's module is loaded, and no card is given to this process.
UNUSED = """
from pathlib import Path
from trainer.process import gpu
gpu.DEVICES, gpu.KERNEL_MODULE = Path("/no-devices"), Path("/proc/version")
"""


def test_a_gpu_that_is_not_used_is_one_line_before_training_on_the_cpu() -> None:
    done = run(UNUSED + IMPORT, CUDA_VISIBLE_DEVICES="0", TRAINER_DEVICE="")
    assert done.returncode == 0 and " on CPU (" in done.stdout
    assert re.fullmatch("warning: the GPU is not used, the CPU is: .*no /no-devices/nvidia0; .*\n", done.stderr)


def test_a_gpu_that_is_asked_for_and_not_there_is_refused_before_jittor_is_imported() -> None:
    done = run(UNUSED + IMPORT + "import sys\nprint('jittor' in sys.modules)", TRAINER_DEVICE="cuda")
    refusal, imported = done.stdout.splitlines()
    assert refusal.startswith("TRAINER_DEVICE=cuda, but no GPU can be used: ") and imported == "False"
    assert done.stderr == ""


def test_what_is_said_of_a_gpu_names_what_its_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", (8, 0), 96 << 30)
    gpu = Gpu((card,), "535.104.05", (12, 2), (12, 2), (8, 9))
    monkeypatch.setattr(device, "_gpu", gpu)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert f" on GPU ({gpu}), float32, convolutions in TF32 (NVIDIA_TF32_OVERRIDE=0: in" in device.describe()
    assert len(device.arithmetic()) < ARITHMETIC_LENGTH
    monkeypatch.setattr(device, "chosen", lambda: Mode(by_stopwatch=True))
    assert device.arithmetic().endswith(" in float32), by cuDNN's fastest algorithms")
    assert len(device.arithmetic()) < ARITHMETIC_LENGTH
    monkeypatch.setattr(device, "chosen", lambda: Mode(deterministic=True))
    assert device.arithmetic().endswith(" in float32); sums in one order")
    monkeypatch.setattr(device, "chosen", Mode)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert device.arithmetic() == f"GPU ({gpu}), float32"


class UntouchedSignals(Interrupt):
    def end_at_once(self) -> None:
        pass


def test_a_config_that_asks_for_half_precision_is_told_that_all_is_in_float32() -> None:
    config = load_config(str(ROOT / "configs/demo/cln.py"), {"optim_wrapper.type": "AmpOptimWrapper"})
    config.test_cfg = {"fp16": True}
    said = "; all is in float32, which the half precision of optim_wrapper, test_cfg.fp16 approximates"
    assert _import_jittor(UntouchedSignals(), config).endswith(said)
    plain = load_config(str(ROOT / "configs/demo/cln.py"))
    assert "half precision" not in _import_jittor(UntouchedSignals(), plain)


def test_a_config_that_asks_for_half_precision_is_told_of_its_types_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(str(ROOT / "configs/demo/cln.py"), {"optim_wrapper.type": "AmpOptimWrapper"})
    config.optim_wrapper.dtype, config.test_cfg = "bfloat16", {"fp16": True}
    monkeypatch.setattr(device, "_gpu", Gpu((Card("H100", (9, 0), 80 << 30),)))
    said = _import_jittor(UntouchedSignals(), config)
    assert said.endswith("; trains in bfloat16 (optim_wrapper); evaluates in float16 (test_cfg.fp16)")


@pytest.mark.parametrize(
    ("keys", "asked", "said"),
    [
        ({"env_cfg.cudnn_benchmark": True}, Mode(by_stopwatch=True), False),
        ({"cudnn_benchmark": True}, Mode(by_stopwatch=True), False),
        ({"env_cfg.cudnn_benchmark": False}, Mode(), False),
        ({"randomness.deterministic": True}, Mode(deterministic=True), False),
        ({"randomness.deterministic": True, "cudnn_benchmark": True}, Mode(deterministic=True), True),
    ],
)
def test_every_task_and_a_detector_compute_as_their_config_says(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, bool], asked: Mode, said: bool
) -> None:
    config = load_config(str(ROOT / "configs/demo/cln.py"), keys)
    monkeypatch.setattr(mode, "_chosen", Mode())
    line = _import_jittor(UntouchedSignals(), config)
    assert mode.chosen() == asked
    assert line.endswith("; randomness.deterministic overrules cudnn_benchmark") == said
    mode.choose(Mode())
    with pytest.raises(UserError, match="nowhere"):
        Detector(config, "nowhere")
    assert mode.chosen() == asked


def test_sums_are_made_in_one_order_by_kernels_of_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode, "_chosen", Mode(deterministic=True))
    assert not in_order.sums_in_order()
    monkeypatch.setattr(in_order, "jt", SimpleNamespace(flags=SimpleNamespace(use_cuda=1)))
    assert in_order.sums_in_order()
    mode.choose(Mode())
    assert not in_order.sums_in_order()


@pytest.mark.parametrize("first", [True, False])
def test_a_process_on_a_gpu_makes_its_sums_in_one_order_or_in_any_and_never_both(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(mode, "_chosen", Mode())
    monkeypatch.setattr(in_order, "_begun", False)
    installed = []
    code = lambda *_, **sources: installed.append(sources["cpu_src"]) or jt.zeros(1)  # noqa: E731
    monkeypatch.setattr(in_order, "jt", SimpleNamespace(flags=SimpleNamespace(use_cuda=1), code=code))
    for _ in range(2):
        in_order.begin(Mode(deterministic=first))
    assert len(installed) == first
    with pytest.raises(UserError, match=f"'randomness.deterministic' is {not first}, and was {first} for what"):
        in_order.begin(Mode(deterministic=not first))
