"""Rules for components of predicted structures, learned by a challenge's metric, and applied to label maps."""
