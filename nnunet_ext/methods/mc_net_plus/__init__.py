"""MC-Net+: three decoders trained to agree, each with the others' sharpened output."""
