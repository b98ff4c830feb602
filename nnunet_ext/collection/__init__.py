"""Collections: several datasets, one network."""
