"""The session folder: what Claude wrote, what it was sent, and the host between."""
