"""A DynamoDB table as a value: expressions and requests as pure functions."""
