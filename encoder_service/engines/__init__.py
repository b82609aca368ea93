"""Engines: what turns token ids into embeddings."""

import sys

# Importing openvino reports the event to its maker from a thread and writes a file into the home directory. Python
# refuses to import a module that stands here as None, and openvino goes on without its telemetry.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is what blocks the import
