"""Which images to annotate next: suspicious ones that are unlike each other and unlike those that are annotated."""
