"""The arithmetic of the throughput table and of the comparison with a baseline, on made-up measurements."""

import math

import pytest

from benchmarks import baseline, fit_speed, throughput

# Images per second in two rounds; the machine is slower in the second.
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
    monkeypatch.setattr(fit_speed.os, "cpu_count", lambda: 2)
    assert fit_speed.foreign_share(before=100.0, after=119.0, own=18.0, elapsed=10.0) == pytest.approx(0.05)
    assert fit_speed.foreign_share(before=100.0, after=117.9, own=18.0, elapsed=10.0) == 0.0  # clocks differ a little
    assert fit_speed.foreign_share(before=None, after=None, own=18.0, elapsed=10.0) is None


def test_a_loss_far_from_the_images_entropy_is_no_training():
    throughput._check("fit", [310.0, 303.0])
    for loss in (200.0, 600.0, float("nan")):
        with pytest.raises(RuntimeError, match="far from the data's 303 nats"):
            throughput._check("fit", [303.0, loss])


def test_the_ratio_to_the_baseline_is_a_geometric_mean_with_a_t_interval():
    # Logarithms of the ratios are 0.1, 0.2 and 0.3: mean 0.2, standard error 0.1 / sqrt(3), t(2) = 4.303.
    found = baseline.ratio([(100.0, 100.0 * math.exp(each)) for each in (0.1, 0.2, 0.3)])
    half = 4.30265 * 0.1 / math.sqrt(3)
    expected = [math.exp(0.2), math.exp(0.2 - half), math.exp(0.2 + half)]
    assert list(found) == pytest.approx(expected, rel=1e-5)
    assert baseline.ratio([(100.0, 50.0)]) == pytest.approx((0.5, 0.0, math.inf))


@pytest.mark.parametrize(
    ("mean", "low", "high", "passes"),
    [
        (0.99, 0.98, 0.999, True),  # significantly slower, but only a little
        (0.97, 0.951, 1.01, True),  # no difference, and 5 % is ruled out
        (0.97, 0.949, 1.01, False),  # 5 % is not ruled out
        (0.97, 0.96, 0.98, False),
        (1.2, 0.0, math.inf, True),
    ],
)
def test_speed_is_kept_above_98_percent_or_where_no_loss_is_seen(mean, low, high, passes):
    assert baseline.passes(baseline.Ratio(mean, low, high)) == passes


def test_each_measurement_imports_its_own_checkout(tmp_path, monkeypatch):
    package = tmp_path / "keras_ae"
    package.mkdir()
    (package / "__init__.py").write_text("")
    script = tmp_path / "fit_speed.py"
    script.write_text("import json, keras_ae; print(json.dumps({'package': keras_ae.__path__[0]}))")
    monkeypatch.setattr(baseline, "SCRIPT", script)
    assert baseline.measured("mlp", tmp_path, 1.0)["package"] == str(package)
    script.write_text("import json; print(json.dumps({'package': 'elsewhere'}))")
    with pytest.raises(RuntimeError, match="elsewhere was measured"):
        baseline.measured("mlp", tmp_path, 1.0)


def test_the_order_of_old_and_new_alternates(tmp_path, monkeypatch, capsys):
    (tmp_path / "keras_ae").mkdir()
    (tmp_path / "keras_ae" / "__init__.py").write_text("")
    asked = []

    def measured(name, checkout, seconds, rows):
        asked.append(checkout)
        return {"images_per_second": 100.0 if checkout == tmp_path else 90.0, "foreign": 0.25}

    monkeypatch.setattr(baseline, "measured", measured)
    found, foreign = baseline.run(tmp_path, ["mlp"], 3, 1.0)
    assert asked == [tmp_path, baseline.HERE, baseline.HERE, tmp_path, tmp_path, baseline.HERE]
    assert found["mlp"]["ratio"] == pytest.approx(0.9) and not found["mlp"]["passes"] and foreign == 0.25
    assert "new / old 0.900" in capsys.readouterr().out
