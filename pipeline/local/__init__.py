"""The local target: an embedded AWS, and a runtime for pushed images."""
