"""The job ledger: the truth about jobs and documents, whatever happens to broker and workers.

`tables` (schema, `migrations`) -> `database` (transactions) -> `rows` (rows as values, and back) -> `documents` (what
is stored), `reports` (what is told of jobs) -> `ledger` (jobs and partitions), `plan_writer` (what a planner reads and
writes), `dictionary` (words of the user, reanalyses). What may become of a job is decided in `kosearch.job_states`, of
a reanalysis in `kosearch.reanalyses`; here it is written down, under a lock on its row.
"""

from kosearch.ledger.dictionary import DictionaryBook
from kosearch.ledger.documents import DocumentVersion, KnownDocument, NewerDocument
from kosearch.ledger.ledger import Ledger, PartitionResult
from kosearch.ledger.plan_writer import KnownFile, PlannedSpan, PlanWriter

__all__ = [
    "DictionaryBook",
    "DocumentVersion",
    "KnownDocument",
    "KnownFile",
    "Ledger",
    "NewerDocument",
    "PartitionResult",
    "PlanWriter",
    "PlannedSpan",
]
