"""Reading and writing files: JSON, text, links, stamps."""
