"""A Ray cluster that grows and shrinks on this machine: Ray's own autoscaler, whose nodes are raylets that it starts
and stops here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.data_server.far.raylet import Raylet, free_port

_IDLE_MINUTES = 0.02
_NOTHING = (
    *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands"),
    *("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
)


class Growing(Raylet):
    """A head without processors. Its autoscaler adds nodes of `processors` each, up to `most`, where something waits
    for them, and removes one that was idle for some seconds."""

    def __init__(self, processors: int, most: int) -> None:
        from ray._private.services import get_node_ip_address
        from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

        port = free_port()
        node = {"resources": {"CPU": processors, "object_store_memory": 100_000_000}, "node_config": {}}
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        provider: dict[str, Any] = {
            "type": "fake_multinode",
            "gcs_address": f"{get_node_ip_address()}:{port}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        }
        config = {
            **{"cluster_name": "test", "provider": provider, "max_workers": most, "upscaling_speed": 1.0},
            **{"idle_timeout_minutes": _IDLE_MINUTES, "auth": {}, "docker": {}, "file_mounts": {}},
            **{"file_mounts_sync_continuously": False, "head_node_type": FAKE_HEAD_NODE_TYPE},
            "available_node_types": {FAKE_HEAD_NODE_TYPE: head, "far": {**node, "min_workers": 0, "max_workers": most}},
            **{name: [] for name in _NOTHING},
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(config, file)
        self._config = Path(file.name)
        environment = {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        }
        super().__init__(0, {}, environment, port, (f"--autoscaling-config={self._config}",))

    def stop(self) -> None:
        super().stop()
        self._config.unlink()
