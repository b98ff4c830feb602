"""Preprocessed data: writing them, checking that they are complete and of which plans they are."""
