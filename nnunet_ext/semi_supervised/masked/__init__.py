"""Images of which a part is hidden, for trainings that restore it."""
