"""The link: keeps a session that lives elsewhere in step with its folder on this machine."""
