"""Documents into chunks that the model reads whole, cut where Korean texts have their joints."""

from indexer_worker.chunking.chunker import CHUNKING_VERSION, Chunker

__all__ = ["CHUNKING_VERSION", "Chunker"]
