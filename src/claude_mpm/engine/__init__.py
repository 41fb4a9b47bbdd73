"""One running session: its command line, input, output, resume and shutdown."""
