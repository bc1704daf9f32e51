"""A function's own files: what of them ships, and whether what ships is complete."""
