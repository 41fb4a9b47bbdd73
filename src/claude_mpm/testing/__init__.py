"""Tools for the tests of those who write orchestrators."""
