"""The audit: findings of checkov in the templates and of pip-audit in the locks, minus justified exceptions."""
