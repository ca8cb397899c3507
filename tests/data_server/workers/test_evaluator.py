"""MMDetection's own metrics over predictions that a client sent."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shared.client import StreamFailed
from shared.errors import UserError
from tests.cluster import ROOT, wait_for
from tests.photos import config_of


def predictions_for(batches):
    """Perfect ones, made from the ground truth brought back to original pixels; crowds are left out."""
    for arrays in batches:
        counts = arrays["box_counts"]
        rows = [(row, box) for row in range(len(counts)) for box in range(counts[row])]
        boxes = np.array([arrays["boxes"][at] / arrays["scale_factors"][at[0]] for at in rows], np.float32)
        yield {
            "image_ids": arrays["image_ids"],
            "counts": counts,
            "original_shapes": arrays["original_shapes"],
            "boxes": boxes.reshape(-1, 4),
            "scores": np.full(len(rows), 0.9, np.float32),
            "labels": np.array([arrays["labels"][at] for at in rows], np.int32),
        }


def validation_batches(client, count):
    for _ in range(count):
        lease = client.next()
        yield {name: array.copy()[: lease.valid] for name, array in lease.arrays.items()}
        lease.release()


METRIC = {
    "type": "CocoMetric",
    "metric": "proposal",
    "proposal_nums": [10, 100, 300],
    "metric_items": ["AR@100", "AR@300", "AR@1000", "mAP"],
}


def test_perfect_predictions_have_perfect_recall_and_precision(cluster, photos):
    client = cluster.open(config_of(photos, "val", batch_size=5), epochs=1)
    values = client.evaluate(predictions_for(list(validation_batches(client, 3))), [METRIC])
    assert values == {"coco/AR@10": 1.0, "coco/AR@100": 1.0, "coco/AR@300": 1.0, "coco/mAP": 1.0}


def test_batches_that_arrive_during_an_evaluation_are_not_lost(cluster, photos):
    """A validation stream that goes on has its next epoch under way while its metrics are computed."""
    client = cluster.open(config_of(photos, "val", batch_size=5))
    for epoch in range(2):
        predictions = list(predictions_for(list(validation_batches(client, 3))))
        assert client.evaluate(predictions, [METRIC])["coco/mAP"] == 1.0, epoch
    assert client.next().step == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "brightness"}, "metric 'CocoMetric': KeyError: .*brightness"),
        ({"type": "CocoMetrik"}, r"evaluator: unknown type 'CocoMetrik' \(did you mean 'CocoMetric'\?\)"),
        ({"ann_file": "nowhere.json"}, "metric 'CocoMetric': FileNotFoundError: .*nowhere.json"),
        ({"quality": 3}, "metric 'CocoMetric': TypeError: .*quality"),
        ({"type": 3}, "metric .*: expected a dict with 'type'"),
    ],
)
def test_a_broken_metric_config_is_the_users_error(cluster, photos, change, said):
    client = cluster.open(config_of(photos, "val"), epochs=1)
    with pytest.raises(UserError, match=said) as caught:
        client.evaluate([], [METRIC | change])
    assert "\n" not in str(caught.value)


def test_a_data_set_of_some_of_the_files_images_is_judged_by_those_alone(cluster, photos):
    client = cluster.open(config_of(photos, "val", batch_size=5, indices=5), epochs=1)
    assert client.welcome.images == 5
    values = client.evaluate(predictions_for(list(validation_batches(client, 1))), [METRIC])
    assert values["coco/AR@100"] == values["coco/mAP"] == 1.0


def test_no_predictions_at_all_are_an_error_and_not_a_zero(cluster, photos):
    client = cluster.open(config_of(photos, "val"), epochs=1)
    with pytest.raises(UserError, match="metric 'CocoMetric': "):
        client.evaluate([], [METRIC])


@pytest.fixture
def at_work(cluster, photos):
    """A function that evaluates 12 images with a slow metric and calls its argument on each evaluator it meets; and
    returns the metrics."""

    def evaluate(meet, times):
        config = config_of(photos, "val", batch_size=12, custom_imports={"imports": ["tests.data_server.transforms"]})
        client = cluster.open(config, epochs=1)
        predictions = list(predictions_for(list(validation_batches(client, 1))))
        workers = wait_for(lambda: len(cluster.workers()) == 2 and cluster.workers(), 5)
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(client.evaluate, predictions, [{"type": "SlowMetric"}])
            met = set(workers)
            for _ in range(times):
                evaluator = wait_for(lambda: set(cluster.workers()) - met, 5).pop()
                met.add(evaluator)
                meet(evaluator)
            return answer.result()

    return evaluate


def test_the_death_of_an_evaluator_costs_a_second_attempt_and_no_prediction(cluster, at_work):
    assert at_work(lambda evaluator: evaluator.kill(), 1) == {"images": 12.0}
    assert "the evaluator died; evaluating again" in cluster.notices


def test_the_death_of_the_process_that_holds_the_data_set_loses_no_prediction(at_work):
    assert at_work(lambda evaluator: evaluator.parent().kill(), 1) == {"images": 12.0}


def test_an_evaluator_that_dies_again_ends_the_stream(at_work):
    with pytest.raises(StreamFailed, match="the evaluator died 2 times; see the data server's log"):
        at_work(lambda evaluator: evaluator.kill(), 2)


ZEBRAS = """
from data_server.workers.metrics import arrays_of

TYPES = ("Zebras", "Stripes")

def evaluate(datasets, config, predictions):
    stripes = sum(arrays_of(record)["counts"].sum() for record in predictions)
    return {config["type"]: stripes, "zebras": len(predictions), "text": "no number"}
"""
JUDGE = """
import sys
import numpy as np
from data_server.workers import metrics

metrics.__path__.append(sys.argv[1])
from data_server.workers.evaluator import evaluate
from shared.layout import Layout

layout = Layout.pack([("counts", "int32", (2,))])
payload = bytearray(layout.nbytes)
layout.views(np.frombuffer(payload, np.uint8))["counts"][:] = 3, 4
print(evaluate(None, [{"type": "Stripes"}], [(layout.wire, payload)]))
"""


def test_a_new_file_is_a_new_adaptor(tmp_path):
    (tmp_path / "zebras.py").write_text(ZEBRAS)
    command = [sys.executable, "-W", "ignore", "-c", JUDGE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("{'Stripes': 7.0, 'zebras': 1.0}\n"), done.stderr


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "CocoMetrik"}, r"evaluator: unknown type 'CocoMetrik' \(did you mean 'CocoMetric'\?\)"),
        ({"clasewise": True}, r"metric 'CocoMetric': unknown key 'clasewise' \(did you mean 'classwise'\?\)"),
        ({"ann_file": "nowhere.json"}, "metric 'CocoMetric': ann_file='nowhere.json': there is no such file"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_when_a_stream_opens(cluster, photos, split, change, said):
    for metric in (METRIC | change, {"type": "MultiDatasetsEvaluator", "metrics": [METRIC, METRIC | change]}):
        with pytest.raises(UserError, match=said) as caught:
            cluster.open(config_of(photos, split) | {"evaluators": [metric]})
        assert "\n" not in str(caught.value)
