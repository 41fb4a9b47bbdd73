"""What other tools get to see of sessions, in their own formats."""
