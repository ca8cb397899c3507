"""An image on a mount that does not answer any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cluster import Cluster, digests, wait_for
from tests.dead_mount import dead_mount
from tests.photos import config_of
from tests.strangers_of_this_machine import only_root


def folder_with(mounted: Path, photos: Path, folder: Path) -> Path:
    """The photographs, of which one is the mounted file."""
    shutil.copytree(photos, folder)
    (folder / "images" / "03.jpg").unlink()
    (folder / "images" / "03.jpg").symlink_to(mounted)
    return folder


@only_root
def test_an_image_that_is_never_read_is_replaced_like_one_that_crashes(
    cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    size = (photos / "images" / "03.jpg").stat().st_size
    with dead_mount(tmp_path / "mount", "03.jpg", size, stopped=True) as mounted:
        config = config_of(
            folder_with(mounted, photos, tmp_path / "set"), feed={"on_bad_sample": "replace", "image_seconds": 1}
        )
        assert digests(cluster.open(config), 12)
        assert {one.image[-6:] for one in cluster.quarantined} == {"03.jpg"}
        assert "it took longer than feed.image_seconds=1 for one image" in cluster.quarantined[-1].reason
        cluster.close_streams()
        wait_for(cluster.is_idle, 5)


@only_root
def test_a_rehearsal_that_cannot_be_killed_keeps_no_stream_from_being_opened(
    cluster: Cluster, photos: Path, tmp_path: Path
) -> None:
    size = (photos / "images" / "03.jpg").stat().st_size
    with dead_mount(tmp_path / "mount", "03.jpg", size, stopped=False) as mounted:
        config = config_of(folder_with(mounted, photos, tmp_path / "set"), feed={"image_seconds": 0.5})
        assert cluster.open(config).welcome
        cluster.close_streams()
        wait_for(cluster.is_idle, 5)
