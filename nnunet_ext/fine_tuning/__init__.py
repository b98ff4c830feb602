"""Plans that continue someone else's model on other data: what the weights need is kept, the rest is the data's."""
