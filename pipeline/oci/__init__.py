"""OCI images, layouts and registries, independent of Lambda."""
