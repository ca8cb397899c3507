"""A compiler of CUDA that compiles what runs on the host: the program that stands where nvcc does.

    kernel<<<blocks, threads>>>(arguments)    counts a launch, checks its size
    __global__ and __device__ functions       go, and with them all that a card would compute

What is left is C++ for g++, without optimisation: it runs once for each launch. Other files are as they are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

VERSION = "release 12.2, V12.2.140"
# Options with a word behind them, and what g++ does not know.
_WITH_A_WORD = ("-x", "-Xptxas", "-code", "-arch", "-gencode")
_UNKNOWN = ("--cudart", "--use_fast_math", "-ccbin", "-arch", "-code", "-gencode", "-march", "-O", "-dc", "-w")
_LAUNCH = re.compile(r"(\w+(?:<[^<>;(){}]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)
# Jittor's header for kernels; of what it has the host calls fix_float alone, which standin.h has, too.
_ATOMICS = re.compile(r"#include [<\"]misc/cuda_atomic\.h[>\"]")
_DEVICE = re.compile(r"\b__(?:global|device)__\b")


def host_side(source: str) -> str:
    """The C++ of the host in a CUDA `source`."""
    source = _ATOMICS.sub("", source)
    at = 0
    while found := _DEVICE.search(source, at):
        start = _beginning(source, found.start())
        if source.startswith("#define", source.rfind("\n", 0, found.start()) + 1):  # another word for it
            at = found.end()
            continue
        opening = source.find("(", found.end())
        if source[found.end() : opening].rstrip().endswith("__launch_bounds__"):
            opening = source.find("(", _closing(source, opening) + 1)
        closing = _closing(source, opening)
        body = re.compile(r"\s*(?:const\s*)?\{").match(source, closing + 1)
        if body is None or "__host__" in source[start:opening] or "<<<" in source[start:opening]:
            at = found.end()
            continue
        source = source[:start] + source[_closing(source, body.end() - 1) + 1 :]
        at = start
    return _LAUNCH.sub(r"StandinKernel(\2)(", source)


def _beginning(source: str, place: int) -> int:
    """Where the declaration with the word at `place` begins: behind another, or behind a line of the preprocessor."""
    start = max(source.rfind(mark, 0, place) for mark in ";}{") + 1
    lines = source[start:place].split("\n")
    for number, line in reversed(list(enumerate(lines))):
        if line.lstrip().startswith(("#", "//")) or line.rstrip().endswith("\\"):
            return start + sum(len(text) + 1 for text in lines[: number + 1])
    return start


def _closing(source: str, opening: int) -> int:
    """The place of the bracket that closes the one at `opening`."""
    ours = source[opening]
    other = {"(": ")", "{": "}"}[ours]
    depth = 0
    for place in range(opening, len(source)):
        depth += (source[place] == ours) - (source[place] == other)
        if not depth:
            return place
    raise ValueError(f"nothing closes the {ours!r} at {opening}")


def translated(arguments: list[str]) -> tuple[list[str], Path]:
    """g++'s command for nvcc's `arguments`, and the CUDA source among them, whose host's side it reads from stdin."""
    words: list[str] = []
    source = None
    rest = iter(arguments)
    for word in rest:
        if word in ("-Xcompiler", "-Xlinker"):
            value = next(rest)
            words += [] if value.startswith("-march") else [value if word == "-Xcompiler" else f"-Wl,{value}"]
        elif word in _WITH_A_WORD:
            next(rest)
        elif word.endswith((".cu", ".cc")) and not word.startswith("-"):
            source = Path(word)
        elif not word.startswith(_UNKNOWN):
            words.append(word)
    if source is None:
        raise ValueError(f"no CUDA source among {arguments}")
    libraries = [word for word in words if word.startswith("-l")]
    others = [word for word in words if word not in libraries]
    # Beside the source may be no place of ours: Jittor's own are in its installation.
    command = ["g++", "-O0", "-w", "-fpermissive", "-iquote", str(source.parent), *others]
    return [*command, "-x", "c++", "-", "-x", "none", *libraries], source


def main(arguments: list[str]) -> int:
    if "--version" in arguments:
        print(f"stand-in for nvcc, Cuda compilation tools, {VERSION}")
        return 0
    command, source = translated(arguments)
    code = "#include <cuda_runtime.h>\n" + host_side(source.read_text(encoding="utf-8"))
    return subprocess.run(command, input=code, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
