"""Labels as they come: incomplete ones are completed before training."""
