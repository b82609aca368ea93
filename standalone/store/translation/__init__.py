"""Protobuf messages of Qdrant's API to Qdrant Edge's types and back. Pure: no I/O, no state."""
