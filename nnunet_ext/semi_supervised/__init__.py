"""Images without labels: finding and preprocessing them, and training on them beside labelled ones."""
