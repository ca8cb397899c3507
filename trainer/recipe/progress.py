"""What a recipe says of its steps before they run: which there are and, where the recipe gives `minutes`, how long they
take.

`minutes` are those of two quiet cores whose kernels are compiled; nothing here measures or guesses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trainer.recipe.steps import Recipe, Step


def overview(recipe: Recipe, done: Collection[str]) -> list[str]:
    """The lines at the start.

    Args:
        done: names of the steps whose results are there.
    """
    rest = [step for step in recipe.steps if step.name not in done]
    whole = _duration(rest)
    head = f"{recipe.title}: {len(rest)} of {len(recipe.steps)} steps to do"
    if rest and whole:
        head += f", {whole} on two quiet cores; the first time Jittor compiles kernels, which takes minutes more"
    lines = [head]
    for number, step in enumerate(recipe.steps, 1):
        takes = "done" if step.name in done else _duration([step])
        lines.append(f"{number:4} {step.name}: {step.task}" + (f", {takes}" if takes else ""))
    return lines


def remaining(steps: Sequence[Step]) -> str:
    """How long the first of these steps and all of them take, in brackets; empty where that is not known.

    Args:
        steps: the one that starts, and those that are to follow.
    """
    takes, left = _duration(steps[:1]), _duration(steps)
    if not takes:
        return ""
    return f" ({takes}; {left} left)" if left and len(steps) > 1 else f" ({takes})"


def _duration(steps: Sequence[Step]) -> str:
    """In words; empty where one of the steps does not say it."""
    minutes = [step.minutes for step in steps if step.minutes is not None]
    if len(minutes) < len(steps):
        return ""
    return f"about {sum(minutes):.0f} min" if sum(minutes) >= 1 else "less than a minute"
