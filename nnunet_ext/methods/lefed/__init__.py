"""LeFeD: two decoders trained to agree, whose disagreement is fed back to the encoder."""
