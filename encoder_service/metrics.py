"""What the service counts, for Prometheus; nothing listens unless an address is set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from kosearch.errors import SettingsError

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)


class Metrics:
    """The figures of one server. Safe for several threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("kosearch_calls", "Calls answered.", ["method", "code"], registry=self.registry)
        self.call_seconds = Histogram(
            "kosearch_call_seconds",
            "From the arrival of a call to its answer.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.texts = Counter("kosearch_encoder_texts", "Texts encoded.", ["model", "priority"], registry=self.registry)
        self.tokens = Counter(
            "kosearch_encoder_tokens",
            "Tokens encoded, special tokens included.",
            ["model", "priority"],
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "kosearch_encoder_queue_seconds",
            "Until the first batch of a call began.",
            ["model", "priority"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "kosearch_encoder_batch_seconds",
            "A batch in the engine.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_tokens = Histogram(
            "kosearch_encoder_batch_tokens", "Tokens of a batch.", ["model"], buckets=_TOKENS, registry=self.registry
        )
        self.failed_batches = Counter(
            "kosearch_encoder_failed_batches", "Batches that the engine failed on.", ["model"], registry=self.registry
        )
        self._queued = Gauge(
            "kosearch_encoder_queued_tokens",
            "Tokens that are in no batch yet.",
            ["model", "priority"],
            registry=self.registry,
        )

    def count_call(self, method: str, code: grpc.StatusCode, elapsed_s: float) -> None:
        """Count a call that has ended."""
        self.calls.labels(method, code.name).inc()
        self.call_seconds.labels(method).observe(elapsed_s)

    def watch_queue(self, model: str, priority: str, tokens: Callable[[], float]) -> None:
        """Report the length of a queue from now on."""
        self._queued.labels(model, priority).set_function(tokens)

    def forget_model(self, model: str) -> None:
        """Report a model's queues no longer."""
        self._queued.remove_by_labels({"model": model})


@contextmanager
def served_metrics(metrics: Metrics, address: str) -> Iterator[None]:
    """Answer `GET /metrics` at host:port inside the block; an empty address answers nowhere. Raises SettingsError."""
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {address} for Prometheus ({error}); set KOSEARCH_ENCODER__METRICS_ADDRESS to a free port"
        ) from error
    try:
        yield
    finally:
        _close(server)
        thread.join()


def _close(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()
