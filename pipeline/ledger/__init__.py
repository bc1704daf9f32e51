"""What was released: numbered releases, their images and templates in ECR, and which of them can go."""
