"""The model: what one execution does next, and every interleaving of several."""
