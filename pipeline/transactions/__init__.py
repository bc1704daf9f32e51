"""Transactions: submitted, redriven, explained, and what they cost."""
