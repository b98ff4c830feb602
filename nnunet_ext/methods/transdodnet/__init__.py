"""TransDoDNet: one network for many tasks; a transformer with a query per task makes its last layers."""
