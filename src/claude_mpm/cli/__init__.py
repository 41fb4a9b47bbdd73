"""The command `claude-mpm`: the only place that prints."""
