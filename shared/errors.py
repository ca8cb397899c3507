"""The one exception that is shown to a user as a single line.

Anything a user can correct (a wrong key, a missing file, a data server of another version) is raised as a ``UserError``
whose text names the thing, says what was expected and what to do. Both command lines print it without a traceback and
exit with code 2.
"""

_MAX_DESCRIBED = 600
_MAX_TEXT = 8000


class UserError(Exception):
    """A mistake in what the user gave us, worded for the user; a long text is cut so that it fits a message."""

    def __init__(self, text: str) -> None:
        super().__init__(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "...")


def described(error: BaseException) -> str:
    """Somebody else's exception as one line of reasonable length: its type and its text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= _MAX_DESCRIBED else text[:_MAX_DESCRIBED] + '...'}"
