"""Checks that a change does not slow down `fit`, for `benchmarks.throughput --baseline`: two checkouts alternate."""

import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
from collections import namedtuple

from scipy import stats

SCRIPT = pathlib.Path(__file__).with_name("fit_speed.py")
HERE = pathlib.Path(__file__).parents[1]
CONFIDENCE = 0.95
AS_FAST, LOWEST = 0.98, 0.95

Ratio = namedtuple("Ratio", "mean low high")
Ratio.__doc__ = """Geometric mean of ratios new / old, and its confidence interval."""


def pair(name, old, seconds, old_first, rows=None):
    """Measures one model in two processes, one per checkout; returns their reports, the old one first."""
    reports = {}
    for checkout in (old, HERE) if old_first else (HERE, old):
        reports[checkout] = measured(name, checkout, seconds, rows)
    return reports[old], reports[HERE]


def measured(name, checkout, seconds, rows=None):
    """Returns the report of `fit_speed` for a model, run in its own process with the `keras_ae` of a checkout."""
    # -P keeps the script's folder off sys.path, where it would come before the checkout.
    command = [sys.executable, "-P", str(SCRIPT), name, f"--seconds={seconds}", *([f"--rows={rows}"] if rows else [])]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout.splitlines()[-1])
    if pathlib.Path(report["package"]) != pathlib.Path(checkout).resolve() / "keras_ae":
        raise RuntimeError(f"Expected the keras_ae of {checkout}; {report['package']} was measured.")
    return report


def ratio(pairs):
    """Returns the `Ratio` of speeds new / old, with a t interval on the log scale; it is infinite for one pair.

    Args:
        pairs: list of (old, new), rows per second.
    """
    logs = [math.log(new / old) for old, new in pairs]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(mean), 0.0, math.inf)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def passes(found):
    """Whether the speed is kept: the mean is at least 0.98, or the interval contains 1 and lies above 0.95."""
    return found.mean >= AS_FAST or (found.low <= 1 <= found.high and found.low > LOWEST)


def run(old, names, pairs, seconds, rows=None):
    """Measures the models and prints a line for each; returns `{name: {ratio, low, high, passes}}` and the foreign use.

    The foreign use is the largest share of the machine that other programs used during a measurement.

    Args:
        old: path of a checkout of the old code.
        names: names in `fit_speed.WORKLOADS`.
        pairs: int, number of measurements of each checkout; the order alternates.
        seconds: float, duration of a measurement.
        rows: int, number of rows of the data, instead of the workload's own.
    """
    old = pathlib.Path(old).resolve()
    if not (old / "keras_ae" / "__init__.py").exists():
        raise SystemExit(f"error: --baseline: expected a checkout of this repository; {old} has no keras_ae.")
    found, foreign = {}, []
    for name in names:
        reports = [pair(name, old, seconds, i % 2 == 0, rows) for i in range(pairs)]
        each = ratio([tuple(report["images_per_second"] for report in both) for both in reports])
        foreign += [report["foreign"] for both in reports for report in both if report["foreign"] is not None]
        before, after = (statistics.median(both[i]["images_per_second"] for both in reports) for i in (0, 1))
        words = "kept" if passes(each) else "SLOWER"
        interval = f"new / old {each.mean:.3f}, 95 % interval {each.low:.3f} to {each.high:.3f}"
        print(f"{name}: {before:,.0f} -> {after:,.0f} images/s, {interval}: {words}", flush=True)
        high = each.high if math.isfinite(each.high) else None  # JSON has no infinity
        found[name] = {"ratio": each.mean, "low": each.low, "high": high, "passes": passes(each)}
    return found, max(foreign, default=None)
