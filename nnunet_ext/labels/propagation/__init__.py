"""Few annotated slices: labels between them are interpolated, into a new dataset."""
