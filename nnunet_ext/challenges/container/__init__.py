"""What runs in the container of a challenge: a model that is loaded once, and cases from one folder to another."""
