"""Whole projects, each in a folder of its own, on one embedded AWS."""
