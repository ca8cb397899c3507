"""What a step replaces, so that a step that fails can be undone."""

from __future__ import annotations

from trainer.device import jt


class Kept:
    """The values of some variables at one moment. Nothing is copied: while a step is under way, what it replaces lives
    on."""

    def __init__(self) -> None:
        self._values: list[jt.Var] = []

    def keep(self, variables: list[jt.Var]) -> None:
        """From now on these values are what `restore` brings back."""
        del self._values[len(variables) :]
        self._values += [jt.zeros(1) for _ in variables[len(self._values) :]]
        for value, variable in zip(self._values, variables, strict=True):
            value._update(variable)

    def restore(self, variables: list[jt.Var]) -> None:
        """Into the same variables."""
        for value, variable in zip(self._values, variables, strict=True):
            variable._update(value)
