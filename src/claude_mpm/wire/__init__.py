"""How bytes become events, and prompts become bytes."""
