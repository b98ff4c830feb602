"""Adaptation at test time: a model's norms are tuned to each case, without labels, and reset after it (GraTa)."""
