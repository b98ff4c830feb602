"""LeFeD: two decoders that shall agree, and whose disagreement is fed back to the encoder."""
