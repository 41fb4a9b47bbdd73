"""Several places at once: their names, and lists of tasks that are run on all of them."""
