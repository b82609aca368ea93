"""The Celery application: `celery -A indexer_worker worker`.

The one module whose import has an effect: Celery wants an application to be there. It joins the stack whose data
directory KOSEARCH_DATA_DIR names.
"""

from functools import cache
from typing import Any

from celery.signals import setup_logging

from indexer_worker.tasks import Workplace
from kosearch.logs import configure_logs
from kosearch.settings import load_settings
from kosearch.task_queue import ADVANCE_JOB, INDEX_PARTITION, REANALYSE, make_celery

settings = load_settings()
app = make_celery(settings)


@cache
def workplace() -> Workplace:
    """Return this process's connections; first called by a task, so always after the fork."""
    return Workplace(settings)


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs("indexer_worker", settings.log.level, settings.log.format)


@app.task(name=ADVANCE_JOB)
def advance_job(job_id: str) -> None:
    """Plan or finish a job."""
    workplace().worker.advance(job_id)


@app.task(name=INDEX_PARTITION)
def index_partition(partition_id: int) -> None:
    """Index a partition."""
    workplace().worker.index(partition_id)


@app.task(name=REANALYSE)
def reanalyse(reanalysis_id: int) -> None:
    """Bring a change of the dictionary to a collection."""
    workplace().reanalyser.run(reanalysis_id)
