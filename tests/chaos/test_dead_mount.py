"""A worker that waits for a mount that does not answer any more, and cannot be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.client import StreamFailed
from tests.cluster import Cluster, digests, wait_for
from tests.data_server.serving.test_dead_mount import folder_with
from tests.dead_mount import dead_mount
from tests.photos import config_of
from tests.strangers_of_this_machine import only_root


@only_root
@pytest.mark.chaos  # a minute in which nothing happens
def test_it_ends_its_stream_with_a_line_and_no_other(cluster: Cluster, photos: Path, tmp_path: Path) -> None:
    other = cluster.open(config_of(photos))
    size = (photos / "images" / "03.jpg").stat().st_size
    with dead_mount(tmp_path / "mount", "03.jpg", size, stopped=False) as mounted:
        config = config_of(folder_with(mounted, photos, tmp_path / "set"), feed={"image_seconds": 0.5})
        with pytest.raises(StreamFailed, match=r"03\.jpg' and does not die; look at its disk or mount"):
            digests(cluster.open(config), 12)
        assert digests(other, 3)
        cluster.close_streams()
        wait_for(cluster.is_idle, 5)
