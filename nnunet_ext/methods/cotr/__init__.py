"""CoTr: a deformable transformer between encoder and decoder."""
