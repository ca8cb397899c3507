"""What the commands that read an annotation file take on one of Objects365's size, whose index they make and use.

    python -m benchmarks.commands [--share S] [--folder DIR]

The file of `benchmarks.three_sets` is written (1,742,289 images, 5.3 GB; one that is in DIR already is used again), and
the commands are run one after the other, the first with no index there:

    category-info, first    makes the index on the way
    category-info           over the index, as all that follow
    subset                  3.5 % of the images
    check                   of a config with the file, `--images` of them decoded

`cpu` is the seconds of the command's processes. `peak` is the anonymous memory of the command's own at its largest,
libraries included; `resident` is with the pages of the index, which others share with it, as often as it has mapped
them: `check` does that twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import three_sets
from benchmarks.rounds import REPOSITORY, RESULTS, machine, shown, write_results
from benchmarks.scale import Figures
from data_server.machine.process_memory import anonymous_bytes

SET = "objects365"
DECODED = 200  # images
_MEGABYTE = 1e6
_LOOK_SECONDS = 0.02


def measured(words: list[str], cache: Path) -> Figures:
    """What ``python -m data_server WORDS`` takes. Raises SystemExit where it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "data_server", *words]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, stdout=sys.stderr
    )
    peak = 0
    while True:
        # One that has ended, but was not waited for, has no memory any more.
        peak = max(peak, anonymous_bytes(process.pid))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(_LOOK_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with code {process.returncode}")
    return {
        "cpu": used.ru_utime + used.ru_stime,
        "peak": peak / _MEGABYTE,
        "resident": used.ru_maxrss * 1024 / _MEGABYTE,
    }


def measure(folder: Path, share: float) -> dict[str, Figures]:
    """The figures of all commands, by their names; shows each as it comes."""
    three_sets.prepare_set(folder, SET, share)
    file, config = folder / f"{SET}.json", folder / "check.py"
    config.write_text(_config(folder))
    runs = {
        "category-info, first": ["category-info", "--annotations", str(file)],
        "category-info": ["category-info", "--annotations", str(file)],
        "subset": ["subset", "--annotations", str(file), "--percent", "3.5"],
        "check": ["check", "--config", str(config), "--images", str(DECODED)],
    }
    found = {}
    with tempfile.TemporaryDirectory(prefix="cache-", dir=folder) as cache:
        for name, words in runs.items():
            found[name] = measured(words, Path(cache))
            shown({name: found[name]})
    return found


def _config(folder: Path) -> str:
    (dataset,) = three_sets.data_sets(folder, (192, 144), 1, (SET,))["datasets"]
    settings = {
        "train_dataloader": {"dataset": {"_delete_": True, **dataset}},
        **dict.fromkeys(("val_dataloader", "val_evaluator", "test_dataloader", "test_evaluator")),
    }
    base = REPOSITORY / "configs" / "demo" / "cln.py"
    return "\n".join([f"_base_ = [{str(base)!r}]", *(f"{key} = {value!r}" for key, value in settings.items())]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the images (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where files are written, 8 GB, and stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-commands-") as temporary:
        found = measure((options.folder or Path(temporary)).resolve(), options.share)
    write_results(RESULTS / "commands.json", {"machine": machine(), "share": options.share, "figures": found})


if __name__ == "__main__":
    main()
