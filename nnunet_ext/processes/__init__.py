"""Concurrent processes: locks, cores, ranks of a distributed training."""
