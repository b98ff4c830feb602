"""Labels as they come: what is done with label files that are not clean, complete and by one rater."""
