"""A page and an HTTP API over everything that is recorded; only `claude-mpm web` imports it."""
