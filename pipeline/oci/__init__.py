"""OCI images, layouts and registries; nothing here knows Lambda."""
