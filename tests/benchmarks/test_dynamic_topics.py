"""Predecessors, duplicates and smoothed shares in the benchmark of dated postings."""

import datetime

import numpy as np
import pytest

from keras_ae.datasets.text import Document

dynamic_topics = pytest.importorskip("benchmarks.dynamic_topics")


def posting(i, title, day, body="words"):
    date = day and datetime.datetime(1993, 4, day, tzinfo=datetime.UTC)
    return Document(str(i), "group", title, f"{title}\n{body} {i}", date)


def test_the_posting_before_is_the_latest_earlier_one_of_the_thread_among_those_asked_for():
    titles_days = [("Re: Orbits", 9), ("orbits", 3), ("RE: Re:  orbits", 5), ("Tea", 4), ("Re[2]: tea", None)]
    documents = [posting(i, *each) for i, each in enumerate(titles_days)]
    np.testing.assert_array_equal(dynamic_topics.predecessors(documents, range(5)), [2, 1, 1, 3, 4])
    np.testing.assert_array_equal(dynamic_topics.predecessors(documents, [4, 1, 0]), [4, 1, 1])


def test_each_body_stays_once_and_in_order():
    documents = [posting(i, f"subject {i}", 1)._replace(text=f"subject {i}\n{b}") for i, b in enumerate("abac")]
    assert [each.id for each in dynamic_topics.without_copies(documents)] == ["0", "1", "3"]


def test_smoothed_shares_are_those_of_each_group_alike(rng):
    # Many postings in one group, few in the other; the shares of label 0 are 1 and 1/4.
    groups = np.repeat(["a", "b"], [400, 40])
    labels = np.concatenate([np.zeros(400, int), np.tile([0, 1, 1, 1], 10)])
    days = np.concatenate([rng.uniform(0, 10, 400), np.repeat(np.linspace(0, 10, 10), 4)])
    shares = dynamic_topics.smoothed(days, labels, groups, np.linspace(2, 8, 5), 1.0)
    np.testing.assert_allclose(shares, np.tile([5 / 8, 3 / 8], (5, 1)), rtol=1e-12)
    # A label that only occurs in the second half: a smoothed step, 1/2 in the middle.
    times = np.linspace(0, 10, 1000)
    late = dynamic_topics.smoothed(times, (times > 5).astype(int), np.full(1000, "a"), np.array([2.0, 5.0, 8.0]), 0.5)
    np.testing.assert_allclose(late[:, 1], [0, 0.5, 1], atol=2e-3)
