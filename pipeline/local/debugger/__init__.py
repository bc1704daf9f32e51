"""A function under a debugger."""
