"""Tickets in the text of a conversation."""
