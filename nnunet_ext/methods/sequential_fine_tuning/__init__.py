"""Sequential fine-tuning: a network takes over what it learned on new data and keeps what it knew before."""
