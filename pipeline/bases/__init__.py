"""The base of an image: from a registry, an engine or an OCI layout, or none."""
