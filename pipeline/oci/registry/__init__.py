"""A container registry's HTTP API: logins, transport, uploads."""
