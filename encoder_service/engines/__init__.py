"""Engines: what turns token ids into embeddings."""
