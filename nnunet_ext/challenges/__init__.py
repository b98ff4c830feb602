"""Challenges: their structures, metrics, rules and rankings."""
