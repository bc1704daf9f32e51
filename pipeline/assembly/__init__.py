"""From a function's folder to an image, without a daemon."""
