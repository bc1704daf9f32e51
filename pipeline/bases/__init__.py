"""The base of an image: an image of a registry or an engine, an OCI layout, or nothing."""
