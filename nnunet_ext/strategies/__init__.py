"""How a fine-tuning trains its network: frozen parts, rates by depth, LoRA."""
