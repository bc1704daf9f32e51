"""An environment as it should be: its settings, its templates and their parameters."""
