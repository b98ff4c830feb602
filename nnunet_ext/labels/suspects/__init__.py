"""Labels that are probably wrong, by networks that never saw them; and a dataset in which they are corrected."""
