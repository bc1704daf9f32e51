"""The HTTP API of container registries: logins, transport, uploads."""
