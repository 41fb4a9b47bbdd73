"""What a user holds: turns, permission requests, verdicts. It knows no process."""
