"""A data server whose training streams have workers on a Ray node as well: what ``pytest --far`` gives the tests that
ask for `cluster`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.client import StreamClient
from tests.cluster import Cluster, wait_for
from tests.data_server.far.raylet import Raylet

FAR_WORKERS = 2
JOIN_SECONDS = 60  # both hosts prove what they make, up to three times; times the patience of the tests
LEFT_SECONDS = 12


class FarCluster(Cluster):
    """With `FAR_WORKERS` of each stream there, beside those here."""

    def __init__(self, workers: int) -> None:
        self._node = Raylet(FAR_WORKERS, {}, {})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._node.token.items():
                patch.setenv(name, value)
            super().__init__(workers, options=("--ray", self._node.address, "--far-workers", str(FAR_WORKERS)))
        self.workers_of_a_stream = workers + FAR_WORKERS

    def open(self, config: dict[str, Any], **hello: Any) -> StreamClient:
        """Returns when the node has passed, or will not, or the stream is at an end already."""
        stream = super().open(config, **hello)
        name = f"stream test of {stream._identity.hex()[:6]}"
        judged = re.compile(f"{name}: .*(makes the same bytes as this host|is not used for this stream|closed;)")
        if config["training"]:
            wait_for(lambda: judged.search(self.log), JOIN_SECONDS)
        return stream

    def stop(self) -> None:
        super().stop()
        wait_for(lambda: not self._node.agents(), LEFT_SECONDS)
        self._node.stop()
