"""One package per method: trainer, network architecture, loss, planner, card."""
