"""Training on all members of a collection."""
