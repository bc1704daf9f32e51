"""Known vulnerabilities in what images contain, from data in OSV's format."""
