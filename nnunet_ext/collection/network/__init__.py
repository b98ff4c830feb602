"""Networks with tasks."""
