"""Files that came from somebody else, read without running code."""
