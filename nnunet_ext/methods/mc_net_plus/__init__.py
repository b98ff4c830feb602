"""MC-Net+: three decoders that must agree, each with the others' sharpened output."""
