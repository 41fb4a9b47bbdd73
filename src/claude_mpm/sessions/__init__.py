"""Sessions at rest: the folder read, what it says, the index and the store."""
