"""The Celery application as both sides see it: the service, which sends tasks by name, and the worker, which has them.

No results are kept: the ledger is the truth, and a task that runs twice does its work once.
"""

from collections.abc import Iterable

import kombu.exceptions
from celery import Celery
from kombu import Queue
from kombu.utils.url import maybe_sanitize_url

from kosearch.errors import SettingsError, UnavailableError
from kosearch.settings import Settings

ADVANCE_JOB = "kosearch.advance_job"
INDEX_PARTITION = "kosearch.index_partition"
REANALYSE = "kosearch.reanalyse"
QUEUE = "kosearch"
# For work that somebody waits for: pushed documents. A worker that listens to it alone keeps it short.
ONLINE_QUEUE = "kosearch.online"
_CONNECT_TIMEOUT_S = 3.0
# Longer than the second for which the worker's blocking read waits at the broker.
_ANSWER_TIMEOUT_S = 10.0


def make_celery(settings: Settings) -> Celery:
    """Return the application, without tasks; connects on first use."""
    app = Celery("kosearch", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        # A worker that is told nothing takes both.
        task_queues=(Queue(ONLINE_QUEUE), Queue(QUEUE)),
        task_ignore_result=True,
        # A task is acknowledged when it is done; a lost worker's partition comes back through its lease in the
        # ledger, which counts the tries, so redelivery of a task that kills its worker is not wanted on top.
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker.concurrency,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_timeout=_CONNECT_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Longer than any task runs: a redelivered task would only find its partition leased.
            "visibility_timeout": 3600,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _ANSWER_TIMEOUT_S,
            "socket_keepalive": True,
        },
    )
    return app


class TaskQueue:
    """Sends tasks by name, so that the sender never imports the worker."""

    def __init__(self, settings: Settings) -> None:
        """Connect on first use. Raises SettingsError for a bad URL."""
        self._app = make_celery(settings)
        # Whoever sends wants to know at once; the ledger sends again.
        self._app.conf.broker_transport_options |= {"max_retries": 0, "interval_start": 0.0}
        try:
            self._where = maybe_sanitize_url(settings.broker_url)
            recoverable = self._app.connection_for_write().recoverable_connection_errors
        except (KeyError, ValueError, ImportError) as error:  # unknown transport, bad port, client not installed
            raise SettingsError(
                f"KOSEARCH_BROKER__URL cannot be used ({error}); write redis://host:6379/0, "
                "amqp://user@host// or another URL that Celery knows"
            ) from error
        self._connection_errors: tuple[type[BaseException], ...] = (
            kombu.exceptions.OperationalError,
            OSError,
            *recoverable,
        )

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def send_job(self, job_id: str) -> None:
        """Ask a worker to plan or finish a job. Raises UnavailableError when the broker does not answer."""
        self._send(ADVANCE_JOB, [job_id], QUEUE)

    def send_partitions(self, partition_ids: Iterable[int], *, is_online: bool = False) -> None:
        """Ask workers to index partitions. Raises UnavailableError when the broker does not answer."""
        self._send(INDEX_PARTITION, partition_ids, ONLINE_QUEUE if is_online else QUEUE)

    def send_reanalyses(self, reanalysis_ids: Iterable[int]) -> None:
        """Ask workers to bring changes of the dictionary to collections. Raises UnavailableError."""
        self._send(REANALYSE, reanalysis_ids, QUEUE)

    def waiting(self) -> int:
        """Return the number of tasks that no worker has taken yet. Raises UnavailableError."""
        try:
            with self._app.connection_for_read() as connection:
                queue = connection.SimpleQueue(QUEUE)
                try:
                    return queue.qsize()
                finally:
                    queue.close()
        except kombu.exceptions.ChannelError:
            return 0  # no such queue: nothing was ever sent, or all of it was taken
        except self._connection_errors as error:
            raise self._unavailable(error) from error

    def _send(self, task: str, arguments: Iterable[str | int], queue: str) -> None:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=_CONNECT_TIMEOUT_S) as producer:
                for argument in arguments:
                    self._app.send_task(task, args=[argument], queue=queue, producer=producer, retry=False)
        except self._connection_errors as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> UnavailableError:
        return UnavailableError(
            f"the broker at {self._where} does not answer ({error}); start it with `kosearch up`, or set "
            "KOSEARCH_BROKER__URL. The job is recorded and goes on by itself when the broker is back"
        )
