"""The arithmetic of the throughput table, on made-up measurements."""

import pytest

from benchmarks import throughput

# Images a second in two rounds, the second one in a slow phase of the machine.
SPEEDS = {
    "fit": (1000.0, 500.0),
    "PyTorch, eager": (500.0, 100.0),
    "PyTorch, fused Adam": (400.0, 250.0),
    "PyTorch, flushed, fused Adam": (800.0, 400.0),
    "pythae": (250.0, 100.0),
}


def measured(speeds):
    return {name: [{"images_per_second": speed, "seconds": 2.0} for speed in each] for name, each in speeds.items()}


def test_a_ratio_is_formed_within_a_round_and_to_the_best_of_each_kind():
    assert throughput.OURS in SPEEDS and throughput.PYTHAE in SPEEDS
    found = throughput.ratios(throughput.rates(measured(SPEEDS)))
    assert found == {"best PyTorch": [2.0, 2.0], "best PyTorch, flushed": [1.25, 1.25], "pythae": [4.0, 5.0]}


def test_the_rows_have_medians_standard_errors_and_the_marks_of_their_workload():
    common = {"command": "python -m benchmarks.throughput", "versions": {"python": "3"}, "date": "2026-01-01"}
    speeds = SPEEDS | {"fit": (1000.0, 600.0)}
    rows = {row["claim"]: row for row in throughput.rows_of("mlp", measured(speeds), common)}
    rate, ratio = rows["MLP VAE: fit"], rows["MLP VAE: fit / best PyTorch, flushed"]
    assert rate["ours"] == 800.0 and rate["standard_error"] == pytest.approx(200.0) and rate["required"] is None
    assert ratio["ours"] == pytest.approx((1.25 + 1.5) / 2) and ratio["standard_error"] == pytest.approx(0.125)
    assert (ratio["required"], ratio["target"]) == throughput.MARKS["mlp"]["best PyTorch, flushed"]
    assert rate["seconds"] == 4.0 and ratio["seconds"] == 2 * 2.0 * len(SPEEDS)


def test_others_share_of_the_machine_is_what_was_busy_beyond_the_contestant(monkeypatch):
    monkeypatch.setattr(throughput.os, "cpu_count", lambda: 2)
    assert throughput._foreign_share(before=100.0, after=119.0, own=18.0, elapsed=10.0) == pytest.approx(0.05)
    assert throughput._foreign_share(before=100.0, after=117.9, own=18.0, elapsed=10.0) == 0.0  # clocks differ a little
    assert throughput._foreign_share(before=None, after=None, own=18.0, elapsed=10.0) is None


def test_a_loss_far_from_the_images_entropy_is_no_training():
    throughput._check("fit", [310.0, 303.0])
    for loss in (200.0, 600.0, float("nan")):
        with pytest.raises(RuntimeError, match="far from the data's 303 nats"):
            throughput._check("fit", [303.0, loss])
