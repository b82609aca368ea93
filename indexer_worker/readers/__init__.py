"""From a file to documents: bytes -> records -> documents. Every fault of a record becomes a rejection by line."""
