"""Celery workers that read sources and write their documents into Qdrant: `celery -A indexer_worker worker`."""
