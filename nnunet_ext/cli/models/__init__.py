"""Commands that train, predict, compare and export."""
