"""Recorded releases: their numbers, and their images and templates in ECR."""
