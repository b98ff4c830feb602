"""Task views and prediction of several tasks at once."""
