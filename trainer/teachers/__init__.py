"""Models that a student imitates."""
