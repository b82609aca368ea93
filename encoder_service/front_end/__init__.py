"""A process that takes calls and tokenises texts, so that the process with the engine has time for the engine."""
