"""Preprocessed data: writing them, checking that they are complete and which plans they belong to."""
