"""What invokes a function: declared in ``function.toml``, with the permissions, filters and failure queues it needs."""
