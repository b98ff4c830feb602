"""Several models that predict together: the mean of their probabilities."""
