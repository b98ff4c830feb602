"""Commands that make and prepare datasets."""
