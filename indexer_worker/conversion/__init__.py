"""Files of foreign programs become text, each in a process of its own that may break down, hang or grow alone."""
