"""Images built and read through a Docker-compatible engine."""
