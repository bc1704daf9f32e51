"""A model checker for Step Functions: explores every path of a definition in the Amazon States Language."""
