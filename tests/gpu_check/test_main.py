"""The lines of the table."""

from tests.gpu_check.__main__ import speeds

STEP = {"time": (0.95, 0.9, 0.99), "processor": (1.0, 1.0, 1.0)}
FAST = {"time": (0.5, 0.4, 0.6), "processor": (1.0, 1.0, 1.0)}


def test_a_step_is_compared_with_each_of_pytorchs_ways_and_memory_with_the_plain_one() -> None:
    results = {
        "ratios": {"PyTorch": {"step": STEP, "inference": FAST}, "torch.compile": {"step": STEP}},
        "seconds": {
            "Jittor": {"step": 0.095, "inference": 0.05},
            "PyTorch": {"step": 0.1, "inference": 0.1},
            "torch.compile": {"step": 0.1},
        },
        "memory": {"Jittor": 2**30, "PyTorch": 2**30},
        "left_out": [],
    }
    found = [(row.what, row.found, row.good) for row in speeds("stage 1, tf32", results)]
    assert found == [
        ("step stage 1, tf32, PyTorch", "x 0.95 (0.90 to 0.99): 95 ms, 100 ms", False),
        ("inference stage 1, tf32, PyTorch", "x 0.50 (0.40 to 0.60): 50 ms, 100 ms", True),
        ("step stage 1, tf32, torch.compile", "x 0.95 (0.90 to 0.99): 95 ms, 100 ms", True),
        ("memory stage 1, tf32", "1.00 GiB, PyTorch 1.00 GiB", True),
    ]


def test_what_could_not_be_compared_is_a_line_of_its_own() -> None:
    results = {
        "ratios": {"PyTorch": {}},
        "seconds": {"Jittor": {}, "PyTorch": {}},
        "memory": {"Jittor": 2, "PyTorch": 1},
        "left_out": ["inference"],
    }
    found = [(row.what, row.found, row.good) for row in speeds("stage 2", results)]
    assert found == [
        ("memory stage 2", "0.00 GiB, PyTorch 0.00 GiB", False),
        ("inference stage 2", "PyTorch has no operators for it", False),
        ("stage 2, torch.compile", "does not compile", True),
    ]
