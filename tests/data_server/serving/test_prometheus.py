"""What Prometheus gets from a real server, over real HTTP."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from data_server.serving import prometheus
from tests.cluster import ROOT, Cluster, digests, wait_for
from tests.data_server.workers.test_evaluator import METRIC, predictions_for, validation_batches
from tests.photos import TRAIN_PIPELINE, config_of

LOAD, BOXES, RESIZE, FLIP, PACK = TRAIN_PIPELINE
IMPORTS = {"imports": ["tests.data_server.transforms"]}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class MeasuredCluster(Cluster):
    """A data server with two workers per stream that is asked for metrics."""

    def __init__(self):
        self.port = free_port()
        super().__init__(2, ("sh", "-c", f'exec "$@" --prometheus {self.port}', "sh"))

    def text(self, query="", seconds=10):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics{query}", timeout=seconds) as answer:
            return answer.read().decode()

    def scrape(self):
        """Values by name, or by (name, label's value) where there is one besides the stream."""
        values = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                other = [value for label, value in sample.labels.items() if label != "stream"]
                key = sample.name.removeprefix("data_server_")
                values[(key, *other) if other else key] = sample.value
        return values

    def stalls(self):
        values = self.scrape()
        return [values["stall_seconds_total", cause] for cause in ("data", "compute")]

    def workers_wait(self):
        """All workers of the one stream are idle, and no slot is free."""
        earlier = self.stalls()
        return self.stalls()[1] > earlier[1]

    def stream_names(self):
        families = text_string_to_metric_families(self.text())
        return {
            sample.labels["stream"] for family in families for sample in family.samples if "stream" in sample.labels
        }


@pytest.fixture(scope="module")
def long_lived_measured():
    cluster = MeasuredCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def measured(long_lived_measured):
    yield long_lived_measured
    long_lived_measured.close_streams()
    wait_for(long_lived_measured.is_idle, 5)


def with_step(photos, step, **how):
    return config_of(photos, pipeline=(LOAD, BOXES, RESIZE, step, FLIP, PACK), custom_imports=IMPORTS, **how)


def test_a_stream_tells_its_slots_batches_and_memory_under_its_name(measured, photos):
    client = measured.open(config_of(photos))
    leases = [client.next(), client.next()]
    slots = client.welcome.slots
    values = wait_for(lambda: (v := measured.scrape())["queue_depth"] == slots - 2 and v, 5)
    assert {values["slots", state] for state in ("free", "writing", "quarantined")} == {0}
    assert values["slots", "ready"] == slots - 2
    assert values["slots", "leased"] == values["credits_in_use"] == 2
    assert values["batches_delivered_total"] == 2
    nbytes = [sum(-(-array.nbytes // 64) * 64 for array in lease.arrays.values()) for lease in leases]
    assert values["bytes_delivered_total"] == sum(nbytes)
    assert values["memory_planned_bytes"] > slots * client.welcome.slot_bytes
    assert (values["streams", "open"], values["streams", "lingering"]) == (1, 0)
    assert values["uptime_seconds"] > 0
    (name,) = measured.stream_names()
    assert f"stream {name}: " in measured.log


def test_a_scraper_gets_the_series_that_it_asks_for(measured, photos):
    measured.open(config_of(photos))
    asked = measured.text("?name[]=data_server_uptime_seconds&name[]=data_server_batches_delivered_total")
    found = {family.name: family.samples[0].value for family in text_string_to_metric_families(asked)}
    assert found.keys() == {"data_server_uptime_seconds", "data_server_batches_delivered"}
    assert found["data_server_uptime_seconds"] > 0


def test_the_documented_queries_ask_for_what_there_is(measured, photos):
    client = measured.open(config_of(photos))
    digests(client, 1)
    asked = set(re.findall(r"\bdata_server_(\w+)(?=[{\[])", (ROOT / "docs/serving.md").read_text()))
    assert len(asked) == 3
    assert asked <= {key if isinstance(key, str) else key[0] for key in measured.scrape()}


def test_the_series_of_a_closed_stream_are_gone_and_those_of_the_server_stay(measured, photos):
    client = measured.open(config_of(photos))
    digests(client, 1)
    client.close()
    values = wait_for(lambda: (v := measured.scrape())["streams", "open"] == 0 and v, 5)
    assert set(values) == {("streams", "open"), ("streams", "lingering"), "uptime_seconds"}


def test_a_slow_pipeline_is_time_that_the_trainer_waited_for_data(measured, photos):
    client = measured.open(with_step(photos, {"type": "Slow"}))
    digests(client, 3)
    before = measured.stalls()
    digests(client, 6)
    data, compute = (after - earlier for after, earlier in zip(measured.stalls(), before, strict=True))
    assert data > 0.03 and data > compute


def test_a_trainer_that_never_releases_is_time_that_the_workers_waited_for_it(measured, photos):
    client = measured.open(config_of(photos))
    client.next()
    wait_for(measured.workers_wait, 5)
    before = measured.stalls()
    after = measured.stalls()
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_a_worker_that_is_killed_is_counted_as_killed(measured, photos):
    client = measured.open(config_of(photos))
    digests(client, 1)
    assert measured.scrape()["worker_restarts_total", "killed"] == 0
    for count in (1, 2):
        wait_for(measured.workers_wait, 5)
        measured.workers()[0].send_signal(signal.SIGKILL)
        wait_for(lambda count=count: measured.scrape()["worker_restarts_total", "killed"] == count, 5)
        digests(client, 6)
    values = measured.scrape()
    assert sum(value for key, value in values.items() if key[0] == "worker_restarts_total") == 2


def test_a_nursery_that_is_killed_is_counted_and_its_workers_are_orphans(measured, photos):
    client = measured.open(config_of(photos))
    digests(client, 1)
    wait_for(measured.nurseries, 5)[0].kill()

    def lost() -> list[float]:
        values = measured.scrape()
        return [values["worker_restarts_total", cause] for cause in ("orphaned", "stillborn")]

    wait_for(lambda: sum(lost()) == 2, 5)
    assert lost()[0] >= 1  # the one that made the batch; the other may not have said a word yet
    assert measured.scrape()["nursery_restarts_total"] == 1
    digests(client, 6)


def test_a_worker_that_has_grown_too_large_is_counted_as_recycled(measured, photos):
    client = measured.open(with_step(photos, {"type": "Hoarding", "mib": 20}, feed={"worker_memory": 50}))
    digests(client, 12)
    wait_for(lambda: measured.scrape()["worker_restarts_total", "recycled"] >= 1, 5)


def test_samples_that_crash_their_worker_or_cannot_be_loaded_are_counted(measured, photos, tmp_path):
    client = measured.open(with_step(photos, {"type": "Deadly"}, feed={"on_bad_sample": "replace"}))
    digests(client, 6)
    (name,) = measured.stream_names()

    def counted():
        values = measured.scrape()
        said = re.findall(rf"stream {re.escape(name)}: image '.*' is quarantined", measured.log)
        return values["quarantined_samples_total"] == len(said) >= 1 and values

    values = wait_for(counted, 5)
    assert values["worker_restarts_total", "crashed"] >= 2
    assert values["replaced_samples_total"] == 0
    client.close()
    (tmp_path / "images").mkdir()
    for path in (photos / "images").iterdir():
        (tmp_path / "images" / path.name).write_bytes(b"" if path.name == "03.jpg" else path.read_bytes())
    (tmp_path / "all.json").write_bytes((photos / "all.json").read_bytes())
    wait_for(lambda: measured.scrape()["streams", "open"] == 0, 5)
    digests(measured.open(config_of(tmp_path, feed={"on_bad_sample": "replace"})), 12)
    values = measured.scrape()
    assert values["replaced_samples_total"] >= 1
    assert values["quarantined_samples_total"] == 0


def test_evaluations_are_counted(measured, photos):
    client = measured.open(config_of(photos, "val", batch_size=5), epochs=1)
    predictions = list(predictions_for(list(validation_batches(client, 3))))
    for count in (1, 2):
        client.evaluate(predictions, [METRIC])
        assert measured.scrape()["evaluations_total"] == count


def test_a_stream_whose_trainer_was_killed_lingers_and_counts_on_for_the_next_one(measured, photos):
    code = (
        "import json, os, sys\n"
        "from shared.client import StreamClient\n"
        "from shared.address import Address\n"
        "from shared.messages import Hello\n"
        "client = StreamClient(Address(sys.argv[1]), Hello('test', json.load(sys.stdin), 7, 0, 1, 0, 0, 0, 2))\n"
        "client.next()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    config = config_of(photos, feed={"linger_seconds": 60})
    command = [sys.executable, "-c", code, measured.address.text]
    subprocess.run(command, cwd=ROOT, input=json.dumps(config).encode(), timeout=120)
    values = wait_for(lambda: (v := measured.scrape())["streams", "lingering"] == 1 and v, 5)
    assert values["streams", "open"] == 0
    delivered = values["batches_delivered_total"]
    assert delivered >= 1
    assert values["credits_in_use"] == 0
    digests(measured.open(config), 3)
    values = measured.scrape()
    assert (values["streams", "open"], values["streams", "lingering"]) == (1, 0)
    assert values["batches_delivered_total"] >= delivered + 3


def test_scrapes_at_the_same_time_are_all_answered(measured, photos):
    client = measured.open(config_of(photos))
    address = f"http://127.0.0.1:{measured.port}/metrics"
    code = f"import urllib.request as u\nfor _ in range(20): assert u.urlopen({address!r}).status == 200"
    scrapers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    digests(client, 20)
    assert [scraper.wait(120) for scraper in scrapers] == [0, 0, 0]


def test_connections_that_say_nothing_take_no_descriptors_from_the_streams(measured, photos):
    server = psutil.Process(measured.server.pid)
    client = measured.open(config_of(photos))
    digests(client, 1)
    wait_for(measured.workers_wait, 5)
    before = server.num_fds()
    silent = [socket.create_connection(("127.0.0.1", measured.port)) for _ in range(5)]
    digests(client, 6)
    assert server.num_fds() <= before + 1
    for connection in silent:
        connection.close()
    assert measured.scrape()["batches_delivered_total"] >= 7
    assert "Traceback" not in measured.log


HALF_A_REQUEST = b"GET /metrics HTTP/1.1\r\nX: "


def test_a_client_that_sends_a_byte_now_and_then_keeps_no_scrape_waiting(measured):
    slow = [socket.create_connection(("127.0.0.1", measured.port)) for _ in range(3)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.2):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"X")

    for connection in slow:
        connection.sendall(HALF_A_REQUEST)
    mute = socket.create_connection(("127.0.0.1", measured.port))
    mute.sendall(HALF_A_REQUEST)
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        for _ in range(3):
            assert measured.scrape()["uptime_seconds"] > 0  # or a time-out
        wait_for(lambda: all(is_cut_off(connection) for connection in (mute, *slow)), 10)
    finally:
        stop.set()
        thread.join()
        for connection in (mute, *slow):
            connection.close()


def test_a_scrape_is_answered_while_slow_clients_are_still_being_waited_for(measured):
    def overtakes() -> bool:
        """Whether none of the slow ones had been cut off by then; on a busy machine they may have been."""
        slow = [socket.create_connection(("127.0.0.1", measured.port)) for _ in range(3)]
        for connection in slow:
            connection.sendall(HALF_A_REQUEST)
        measured.scrape()
        first = not any(is_cut_off(connection) for connection in slow)
        for connection in slow:
            connection.close()
        return first

    assert any(overtakes() for _ in range(10))


def test_a_request_that_is_whole_after_its_deadline_only_is_not_answered(monkeypatch):
    port = free_port()
    prometheus.Exporter("127.0.0.1", port)
    for seconds, status in ((60, b"HTTP/1.0 200"), (-1, b"")):
        monkeypatch.setattr(prometheus, "_CLIENT_SECONDS", seconds)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /favicon.ico HTTP/1.1\r\n\r\n")
            client.settimeout(60)
            try:
                assert client.recv(len(status) or 1) == status
            except ConnectionResetError:
                assert not status


def test_too_many_open_files_stop_scrapes_for_as_long_as_that_lasts(measured):
    measured.scrape()
    server, limit = measured.server.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(server, limit)
    resource.prlimit(server, limit, (3, before[1]))
    try:
        for _ in range(6):  # each thread had a descriptor ready for one connection
            with contextlib.suppress(OSError):
                measured.text(seconds=1)
    finally:
        resource.prlimit(server, limit, before)
    assert measured.scrape()["uptime_seconds"] > 0


def is_cut_off(connection):
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_without_the_option_nothing_listens(cluster):
    assert psutil.Process(cluster.server.pid).net_connections("inet") == []


# The command line -----------------------------------------------------------------------------------------------------


def serve(tmp_path, *options, start=("-m", "data_server")):
    command = [sys.executable, *start, "--listen", f"ipc://{tmp_path}/d", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_port_in_use_is_refused_in_one_line_and_leaves_nothing(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = serve(tmp_path, "--prometheus", str(port))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: --prometheus 127.0.0.1:{port}: cannot listen there: Address already in use; "
        "choose another port, or stop what is using it\n"
    )
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("text", ["65536", "-1", "http", "127.0.0.1:", "127.0.0.1"])
def test_what_is_no_port_is_refused_by_the_command_line(tmp_path, text):
    refused = serve(tmp_path, f"--prometheus={text}")
    assert refused.returncode == 2
    assert "expected [HOST:]PORT with a port below 65536, or 0 for none" in refused.stderr


def test_a_host_that_is_not_of_this_machine_is_refused_in_one_line(tmp_path):
    refused = serve(tmp_path, "--prometheus", "192.0.2.1:9464")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --prometheus 192.0.2.1:9464: cannot listen there: Cannot assign")
    assert refused.stderr.count("\n") == 1


def test_a_missing_package_is_named_in_one_line(tmp_path):
    without = (
        "import sys; sys.modules['prometheus_client'] = None; from data_server.__main__ import main; sys.exit(main())"
    )
    refused = serve(tmp_path, "--prometheus", str(free_port()), start=("-c", without))
    assert refused.returncode == 2
    assert refused.stderr == "error: --prometheus needs prometheus_client; pip install prometheus-client\n"
