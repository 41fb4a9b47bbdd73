"""A server that hosts sessions for other machines."""
