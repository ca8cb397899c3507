"""A recipe's report, which the page has a link to.

A link carries no token. So where the server has one, the report's path has a part that follows from the token, and
only ``/vocabulary``, which asks for the token, tells it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.errors import UserError

# The file brings its style and its pictures along, and has no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "


class Report:
    """A report at `path` of the server.

    Args:
        file: a recipe's ``report.html``, read when it is asked for: the recipe may be run again meanwhile.
        token: the server's.

    Raises:
        UserError: there is no such file.
    """

    def __init__(self, file: Path, token: str | None) -> None:
        if not file.is_file():
            raise UserError(f"--report {file}: no such file; a recipe leaves one in its work dir")
        self._file = file
        name = "report" if token is None else f"report-{hashlib.sha256(f'report {token}'.encode()).hexdigest()[:32]}"
        self.path = f"/{name}.html"

    @property
    def route(self) -> Route:
        """Answers with the file as it is now."""

        def answer(_: Request) -> Response:
            headers = {"content-security-policy": f"{_POLICY}frame-ancestors 'none'"}
            return Response(self._file.read_bytes(), media_type="text/html", headers=headers)

        return Route(self.path, answer)
