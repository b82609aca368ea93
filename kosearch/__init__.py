"""Shared by every process: errors, settings, text, documents, the ledger, the clients and the command line."""

__version__ = "0.1.0"
