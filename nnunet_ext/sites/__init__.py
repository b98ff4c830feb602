"""Datasets from several sites: which case is from where, and folds that leave one site out."""
