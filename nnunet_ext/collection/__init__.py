"""Collections: several data sets, one network."""
