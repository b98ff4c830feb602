"""``nnunet_ext inspect``: what is in a model or a checkpoint, found without running it."""
