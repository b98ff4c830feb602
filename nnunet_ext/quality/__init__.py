"""Which predictions to look at first: what is unusual in a case, measured against the training cases."""
