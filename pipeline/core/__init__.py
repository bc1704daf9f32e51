"""Errors, events, files, locks and documents: what every folder uses and what imports none of them."""
