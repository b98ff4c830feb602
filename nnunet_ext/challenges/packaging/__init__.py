"""Makes the folder from which the container of a challenge is built."""
