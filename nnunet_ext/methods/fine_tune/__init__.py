"""Fine-tuning: the strategies, which are knobs of every trainer, and a trainer that reports better or worse."""
