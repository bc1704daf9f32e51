"""The audit: what checkov says of the templates and pip-audit of the locks, held against what is justified."""
