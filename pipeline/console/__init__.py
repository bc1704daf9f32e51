"""The web console: pages about one environment, served on loopback."""
