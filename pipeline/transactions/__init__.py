"""Commands on transactions: submit, redrive, explain, and estimate their cost."""
