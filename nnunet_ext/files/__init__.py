"""Reading and writing files: JSON, text, links, stamps, label maps, the header of NIfTI."""
