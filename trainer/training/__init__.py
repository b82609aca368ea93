"""A recipe at work: mixtures of examples, losses, stages, checkpoints."""
