"""Checkpoints: what goes in comes out, a failed or killed save costs nothing, and nothing wrong loads in silence."""

import os
import pickle
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shared.errors import UserError
from trainer.device import jt, nn, var
from trainer.training.optimizer import Optimizer, build_optimizer
from trainer.weights import checkpoint

WRAPPER = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}
CURSOR = {"epoch": 1, "step": 7}
META = {"seed": 3, "config": "lr = 0.1  # π\n"}


class Model(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv(3, width, 3, bias=False)
        self.bn = nn.BatchNorm(width, sync=False)
        self.frozen = jt.array(np.random.rand(2).astype(np.float32)).stop_grad()

    def execute(self, images: jt.Var) -> jt.Var:
        return self.bn(self.conv(images))


def trained() -> tuple[Model, Optimizer]:
    model = Model()
    optimizer = build_optimizer(WRAPPER, model)
    images = var(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
    for _ in range(2):
        optimizer.step((model(images) ** 3).sum())
        jt.sync_all()
    return model, optimizer


@contextmanager
def files_limited_to(size: int):
    """The kernel refuses to let any file grow beyond `size` bytes: a full disk as far as the writer can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_is_told_from_other_files_by_its_content(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path / "own.pth", model, optimizer, CURSOR, META)
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "plain.safetensors")
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "other.safetensors", {"format": "pt"})
    (tmp_path / "text.safetensors").write_text("format_version")
    content = (tmp_path / "own.pth").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-1])
    assert checkpoint.is_own(tmp_path / "own.pth") is True
    for name in ("plain", "other", "text", "cut", "none"):
        assert checkpoint.is_own(tmp_path / f"{name}.safetensors") is False, name


def test_a_saved_run_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path / "step_7.safetensors", model, optimizer, CURSOR, META)
    loaded = checkpoint.load(tmp_path / "step_7.safetensors")
    assert (loaded.cursor, loaded.meta) == (CURSOR, META)

    fresh = Model()
    fresh_optimizer = build_optimizer(WRAPPER, fresh)
    checkpoint.restore(loaded, fresh, fresh_optimizer)
    expected, restored = model.state_dict(to="numpy"), fresh.state_dict(to="numpy")
    assert {"conv.weight", "bn.weight", "bn.running_mean", "bn.running_var", "frozen"} <= expected.keys()
    assert np.abs(expected["bn.running_mean"]).max() > 0
    for name, array in expected.items():
        np.testing.assert_array_equal(restored[name], array, err_msg=name)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(fresh_optimizer.state_dict()[name], array, err_msg=name)


def test_restoring_keeps_frozen_parameters_frozen_and_trainable_ones_trainable(tmp_path: Path) -> None:
    model, _ = trained()
    checkpoint.save(tmp_path / "a.safetensors", model, None, CURSOR, META)
    fresh = Model()
    checkpoint.restore(checkpoint.load(tmp_path / "a.safetensors"), fresh)
    assert fresh.frozen.is_stop_grad()
    assert not fresh.conv.weight.is_stop_grad()


def test_the_file_has_the_models_own_names_and_can_be_read_by_anybody(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path / "a.safetensors", model, optimizer, CURSOR, META)
    arrays = load_file(tmp_path / "a.safetensors")
    assert arrays["conv.weight"].shape == (4, 3, 3, 3)
    assert arrays["optimizer.conv.weight.momentum_buffer"].shape == (4, 3, 3, 3)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o077 == 0o666 & ~current_umask() & 0o077


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_every_difference_is_listed_and_nothing_is_changed(tmp_path: Path) -> None:
    model, _ = trained()
    checkpoint.save(tmp_path / "a.safetensors", model, None, CURSOR, META)
    arrays = load_file(tmp_path / "a.safetensors")
    arrays["neck.weight"] = arrays.pop("bn.weight")
    arrays["frozen"] = np.zeros(5, np.float16)
    save_file(arrays, tmp_path / "a.safetensors", checkpoint_metadata())
    fresh = Model()
    before = fresh.state_dict(to="numpy")
    with pytest.raises(UserError) as caught:
        checkpoint.restore(checkpoint.load(tmp_path / "a.safetensors"), fresh)
    text = str(caught.value)
    assert "1 missing: bn.weight float32[4]" in text
    assert "1 unexpected: neck.weight float32[4]" in text
    assert "1 of another shape or dtype: frozen is float16[5], expected float32[2]" in text
    assert "\n" not in text
    for name, array in fresh.state_dict(to="numpy").items():
        np.testing.assert_array_equal(array, before[name])


def checkpoint_metadata() -> dict[str, str]:
    return {"format_version": checkpoint.FORMAT_VERSION, "cursor": '{"epoch": 0, "step": 0}', "meta": "{}"}


def test_a_checkpoint_without_optimizer_state_does_not_resume_an_optimizer(tmp_path: Path) -> None:
    model, _ = trained()
    checkpoint.save(tmp_path / "a.safetensors", model, None, CURSOR, META)
    fresh = Model()
    with pytest.raises(UserError, match=r"a\.safetensors has weights alone, .*: start from them without --resume"):
        checkpoint.restore(checkpoint.load(tmp_path / "a.safetensors"), fresh, build_optimizer(WRAPPER, fresh))


def test_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    model, optimizer = trained()
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, model, optimizer, CURSOR, META)
    old = path.read_bytes()
    with files_limited_to(len(old) // 2), pytest.raises(UserError) as caught:
        checkpoint.save(path, model, optimizer, {"epoch": 2, "step": 9}, META)
    assert f"cannot write the checkpoint {path}: File too large" in str(caught.value)
    assert path.read_bytes() == old
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.safetensors", "last_checkpoint"]


SAVE_FOREVER = """
import sys
from pathlib import Path
import numpy as np
from trainer.weights import checkpoint
from trainer.device import jt, nn
model = nn.Module()
for step in range(1, 100000):
    model.weight = jt.array(np.full((1000, 2000), step, np.float32))
    checkpoint.save(Path(sys.argv[1]) / f"step_{step}.safetensors", model, None, {"epoch": 0, "step": step}, {}, 2)
"""


def test_weights_that_are_not_finite_never_become_the_latest_checkpoint(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path / "step_1.safetensors", model, optimizer, CURSOR, META)
    model.conv.weight.assign(var(np.full((4, 3, 3, 3), np.nan, np.float32)))
    with pytest.raises(UserError, match=r"step_2\.safetensors is not written: 1 tensors .* the first is conv\.weight"):
        checkpoint.save(tmp_path / "step_2.safetensors", model, optimizer, CURSOR, META, max_keep=1)
    assert checkpoint.latest(tmp_path) == tmp_path / "step_1.safetensors"


@pytest.mark.parametrize("name", ["conv.weight", f"{checkpoint.OPTIMIZER_PREFIX}conv.weight.momentum_buffer"])
def test_a_checkpoint_with_numbers_that_are_not_finite_is_refused_and_changes_nothing(
    tmp_path: Path, name: str
) -> None:
    model, optimizer = trained()
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, optimizer, CURSOR, META)
    arrays = load_file(path)
    arrays[name][0, 0] = np.inf
    save_file(arrays, path, checkpoint_metadata())
    fresh = Model()
    before = fresh.state_dict(to="numpy")
    with pytest.raises(
        UserError, match=rf"^checkpoint {path}.*: tensor '{name.removeprefix('optimizer.')}' has 9 numbers"
    ):
        checkpoint.restore(checkpoint.load(path), fresh, build_optimizer(WRAPPER, fresh))
    for name, array in fresh.state_dict(to="numpy").items():
        np.testing.assert_array_equal(array, before[name])


def test_a_kill_in_the_middle_of_a_save_leaves_a_complete_latest_checkpoint(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(tmp_path)], cwd=Path(__file__).parents[3])
    partial = tmp_path / ".partial"
    try:
        while child.poll() is None:
            if (tmp_path / "step_2.safetensors").exists() and partial.exists() and partial.stat().st_size > 1000:
                break
            time.sleep(0.0005)
        assert child.poll() is None, "the saving process ended by itself"
    finally:
        child.kill()
        child.wait()
    path = checkpoint.latest(tmp_path)
    loaded = checkpoint.load(path)
    assert path.name == f"step_{loaded.cursor['step']}.safetensors"
    assert (loaded.model["weight"] == loaded.cursor["step"]).all()


def test_a_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, model, optimizer, CURSOR, META)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"a\.safetensors: not a complete safetensors file"):
        checkpoint.load(path)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match="not a complete safetensors file"):
        checkpoint.load(tmp_path / "a.safetensors")
    assert not (tmp_path / "executed").exists()


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"format_version is None, expected '1'; it was not saved by this trainer"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("nothing.safetensors", "x" * 300):
        with pytest.raises(UserError, match=rf"{name}: no such file"):
            checkpoint.load(tmp_path / name)
    assert checkpoint.latest(tmp_path / ("x" * 300)) is None


def test_latest_is_the_last_one_saved_also_after_the_directory_moved(tmp_path: Path) -> None:
    model, _ = trained()
    assert checkpoint.latest(tmp_path) is None
    for step in (9, 10):
        checkpoint.save(tmp_path / "run" / f"step_{step}.safetensors", model, None, CURSOR, META)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert checkpoint.latest(tmp_path / "moved") == tmp_path / "moved" / "step_10.safetensors"
    (tmp_path / "moved" / "step_10.safetensors").unlink()
    with pytest.raises(UserError, match=r"names .*step_10\.safetensors, which does not exist"):
        checkpoint.latest(tmp_path / "moved")


def test_only_the_newest_of_a_series_are_kept(tmp_path: Path) -> None:
    model, _ = trained()
    checkpoint.save(tmp_path / "best.safetensors", model, None, CURSOR, META)
    checkpoint.save(tmp_path / "epoch_1.safetensors", model, None, CURSOR, META)
    for step in (8, 9, 10):
        checkpoint.save(tmp_path / f"step_{step}.safetensors", model, None, CURSOR, META, max_keep=2)
    kept = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    assert kept == ["best.safetensors", "epoch_1.safetensors", "step_10.safetensors", "step_9.safetensors"]


def test_a_task_works_with_the_file_given_or_the_work_dirs_latest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"nothing to export: no checkpoint in {tmp_path}; .*--checkpoint"):
        checkpoint.chosen(None, tmp_path, "export")
    checkpoint.save(tmp_path / "epoch_1.safetensors", Model(), None, CURSOR, META)
    assert checkpoint.chosen(None, tmp_path, "export") == tmp_path / "epoch_1.safetensors"
    assert checkpoint.chosen("other.pth", tmp_path, "export") == Path("other.pth")


def test_anything_with_a_state_is_kept_beside_the_model_and_restored(tmp_path: Path) -> None:
    class Counter:
        def __init__(self, count: int) -> None:
            self.count = count

        def state_dict(self) -> dict[str, np.ndarray]:
            return {"count": np.array([self.count], np.int64)}

        def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
            self.count = int(state["count"][0])

    model, counter = Model(), Counter(0)
    checkpoint.save(tmp_path / "a.safetensors", model, Counter(5), CURSOR, META)
    checkpoint.restore(checkpoint.load(tmp_path / "a.safetensors"), model, counter)
    assert counter.count == 5
