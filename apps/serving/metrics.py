"""Counts and latencies of requests for Prometheus, with the names and buckets that TensorFlow Serving gives them."""

import prometheus_client
from prometheus_client.core import Metric

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_PREFIX = ":tensorflow:serving:"
_BUCKETS = [10 * 1.8**k for k in range(33)]  # microseconds, up to 20 minutes
_UNKNOWN = "(unknown)"  # one name for all models that do not exist, so that clients cannot add any number of them


class Metrics:
    """Counts of one server, in a registry of its own.

    Args:
        names: function that returns the names of the server's models.
    """

    def __init__(self, names):
        self._names, self._registry = names, prometheus_client.CollectorRegistry()
        # The library would append "_total" to the name, which TensorFlow Serving does not.
        self._counts = prometheus_client.Counter("count", "", ["model_name", "status"], registry=None)
        self._latency = prometheus_client.Histogram(
            f"{_PREFIX}request_latency",
            "Wall time of requests in microseconds.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def add(self, model, api, entrypoint, code, seconds):
        """Counts a request.

        Args:
            model: str, its name in the request.
            api: str, "Predict" or another method.
            entrypoint: str, "REST" or "GRPC".
            code: str, canonical status code.
            seconds: float, wall time.
        """
        model = model if model in self._names() else _UNKNOWN
        self._counts.labels(model, code).inc()
        self._latency.labels(model, api, entrypoint).observe(1e6 * seconds)

    def totals(self):
        """Returns `{status code: number of requests}`."""
        found = {}
        for sample in self._samples():
            code = sample.labels["status"]
            found[code] = found.get(code, 0) + int(sample.value)
        return found

    def page(self):
        """Returns the page that Prometheus reads, bytes."""
        return prometheus_client.generate_latest(self._registry)

    def collect(self):
        """Yields the counts, for the registry."""
        metric = Metric(f"{_PREFIX}request_count", "Number of requests by status.", "unknown")
        for sample in self._samples():
            metric.add_sample(metric.name, sample.labels, sample.value)
        yield metric

    def _samples(self):
        return [each for metric in self._counts.collect() for each in metric.samples if each.name == "count_total"]
