"""A release of an environment, from its sources to its running functions; ``release.py`` has the order."""
