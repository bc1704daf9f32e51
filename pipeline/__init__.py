"""From a source folder to a running function, one stage a module; see release.py for the order."""
