"""Plans that continue somebody's trained model on other data: what the weights need is kept, the rest is the data's."""
