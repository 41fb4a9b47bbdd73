"""The face that users subclass, and how it is registered."""
