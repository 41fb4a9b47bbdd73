"""claude-mpm runs Claude Code anywhere, behind one class, and loses nothing."""
