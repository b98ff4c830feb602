"""UniSeg: one network for many tasks, told by a learnable prompt which task it is on."""
