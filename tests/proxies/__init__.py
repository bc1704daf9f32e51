"""Proxies that stand between the code under test and a real server, and make it fail on purpose."""
