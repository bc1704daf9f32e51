"""Images of the emulated ECR on disk: pulled, verified and unpacked."""
