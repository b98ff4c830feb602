"""Commands that train, compare and hand over models."""
