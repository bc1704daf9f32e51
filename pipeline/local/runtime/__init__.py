"""Pulled images as processes: unpacked, started, invoked through the Runtime API."""
