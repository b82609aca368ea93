"""The whole stack on one machine: broker, store, encoder service and worker, started and kept running."""
