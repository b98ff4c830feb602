"""Planning a collection."""
