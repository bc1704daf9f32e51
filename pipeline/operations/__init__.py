"""Running functions: their logs, and one invocation."""
