"""Comparison of trainers: arms, runs, leakage, scores, table and figure."""
