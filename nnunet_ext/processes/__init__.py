"""Processes beside each other: locks, cores, ranks of a distributed training."""
