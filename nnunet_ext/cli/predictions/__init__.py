"""Commands that predict with trained models, and those that check predictions."""
