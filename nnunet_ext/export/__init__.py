"""Export of models."""
