"""Several people who annotated the same images: their files, one map of all of them, scores against each."""
