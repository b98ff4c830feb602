"""Commands for challenges."""
