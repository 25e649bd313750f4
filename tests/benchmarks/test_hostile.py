"""The benchmark of hostile files: equal seeds damage equally, hangs and crashes are found, and failures are counted."""

import os

import numpy as np
import pytest
from absl import flags

from benchmarks import damage, hostile, processes, results, writers

BASES = {"a.txt": b"abcdefgh" * 50, "b.txt": bytes(range(256)), "none": b""}


def test_equal_seeds_damage_equally():
    made = [[damage.damaged(BASES, number, [seed]) for number in range(300)] for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    assert {name for name, _ in made[0]} == set(BASES) and sum(data != BASES[name] for name, data in made[0]) > 150


def test_a_kind_is_damaged_in_every_way():
    random = np.random.default_rng(0)
    data, other = BASES["a.txt"], BASES["b.txt"]
    for way in damage._WAYS:
        assert any(way(data, other, random) != data for _ in range(5))
    assert len(damage._truncated(data, other, random)) < len(data)
    assert damage._swapped(data, other, random)[:4] == other[:4]


@pytest.mark.processes
def test_a_worker_that_hangs_or_dies_is_started_again(monkeypatch):
    monkeypatch.setattr(processes, "_FIRST", 5.0)
    monkeypatch.setattr(processes, "_WAITING", 10.0)

    def spin(_):
        while True:
            pass

    jobs = {"echo": lambda word: {"kind": word}, "spin": spin, "die": lambda _: os._exit(3)}
    worker = processes.Worker(jobs, 0.2)
    try:
        asked = ("echo", "read"), ("spin", 0), ("echo", 1), ("die", 0), ("echo", 2)
        kinds = [worker.ask(*job)["kind"] for job in asked]
        assert kinds == ["read", "hang", "1", "crash", "2"]
    finally:
        worker.stop()
    assert worker.process is None


@pytest.mark.processes
def test_the_peak_of_memory_is_that_since_it_was_reset():
    def allocate(report, size):
        before = processes.reset_peak()
        np.ones(size, np.uint8)
        report(processes.peak() - before)

    (more,), (less,) = processes.run(allocate, 3 * 10**8), processes.run(allocate, 1)
    assert 2.9e8 < more < 4e8 and less < 1e8


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("'x.png' is damaged"), "refused"),
        (ValueError("damaged"), "traceback"),
        (KeyError("x.png"), "traceback"),
    ],
)
def test_only_errors_that_name_the_file_count_as_handled(error, kind):
    def fail():
        raise error

    assert writers.outcome(fail, ["x.png"])[0] == kind and writers.outcome(dict, [])[0] == "read"


def test_the_table_has_what_failed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    part = {"tried": 5, "read": 1, "refused": 2, "bytes": 10**6, "seconds": 0.5, "took": 9.0}
    part |= dict.fromkeys(hostile.FAILURES, 0) | {"hang": 1, "memory": 1}
    full = {
        "found": [{"kind": "refused", "left": [], "damaged": False}, {"kind": "silent", "left": [], "damaged": False}]
    }
    killed = {"found": [{"ended": False, "damaged": [], "hidden": 3, "left": ["a"]}], "took": 1.0}
    found = {
        "files": {"images": part},
        "requests": {},
        "full": {"export": full | {"took": 1.0}},
        "kills": {"index": killed},
    }
    made = {row["claim"]: row["ours"] for row in hostile.rows(found)}
    assert made["images: not handled"] == 2 and made["damaged files: over 5 s"] == 1
    assert made["damaged files: most memory above that before"] == 1 and made["damaged files: over 500 MB"] == 1
    assert [value for claim, value in made.items() if claim.startswith("export, disk full")] == [1]
    assert [value for claim, value in made.items() if "left behind after" in claim] == [1]
    for row in hostile.rows(found):
        results.validate(row)
