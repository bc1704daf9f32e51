"""The embedded AWS: ministack, and the one place that patches it."""
