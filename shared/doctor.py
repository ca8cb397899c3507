"""A doctor: checks of the machine, of which each answers in one line.

    verdict   ok, warning or fault
    name      the check's
    text      what was found, and where something is wrong, what to change

A check is a function that returns its text, or raises `Warned`, `Faulty` or UserError with it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping

from shared.command_line import FINDINGS, GOOD
from shared.errors import UserError, described
from shared.terminal import show

PROJECT = "unidetector-jittor"

Check = Callable[[], str]


class Warned(Exception):
    """A check's answer, when the program runs but not as it should."""


class Faulty(Exception):
    """A check's answer, when the program cannot run."""


def run(checks: Mapping[str, Check]) -> int:
    """Runs all, shows what they answer; returns the exit code."""
    verdicts = []
    for name, check in checks.items():
        verdict, text = examine(check)
        verdicts.append(verdict)
        show(f"{verdict:8} {name:20} {text}")
    return FINDINGS if "fault" in verdicts else GOOD


def examine(check: Check) -> tuple[str, str]:
    """A check's verdict and what it says."""
    try:
        return "ok", check()
    except Warned as answer:
        return "warning", str(answer)
    except (Faulty, UserError) as answer:
        return "fault", str(answer)
    except (OSError, ImportError) as error:
        return "fault", f"{described(error)}; this program needs it"


def versions(extra: str) -> str:
    """Every package that the project is declared to need with this extra, at a version that is declared to work."""
    from packaging.requirements import Requirement

    if int(importlib.metadata.version("numpy").split(".")[0]) >= 2:
        raise Faulty("numpy 2 makes Jittor copy zero bytes without an error; pip install 'numpy>=1.26.4,<2'")
    try:
        lines = importlib.metadata.requires(PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        raise Warned(f"{PROJECT} is not installed, nothing says what it needs; pip install -e '.[{extra}]'") from None
    found, wrong = [], []
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if version not in requirement.specifier:
            wrong.append(f"{requirement.name} is {version}, expected {requirement.specifier}")
    if wrong:
        raise Faulty(f"{'; '.join(wrong)}; pip install -e '.[{extra}]'")
    return ", ".join(dict.fromkeys(found))
