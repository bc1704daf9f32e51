"""Images of the emulated ECR on disk: pulled, verified, unpacked and compiled."""
