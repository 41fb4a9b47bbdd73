"""Places where a command can run."""
