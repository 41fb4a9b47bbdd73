"""The terminal host: Claude Code's native interface on a pseudo-terminal, and screens for it."""
