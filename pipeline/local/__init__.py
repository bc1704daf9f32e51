"""The local target: an embedded AWS, and the runtime that runs what was pushed."""
