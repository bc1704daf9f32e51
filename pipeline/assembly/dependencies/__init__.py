"""The packages that a function's lock names, as layers."""
