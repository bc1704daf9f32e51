"""Pulled images as containers of a Docker-compatible engine."""
