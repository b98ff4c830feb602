"""Making a collection of existing datasets."""
