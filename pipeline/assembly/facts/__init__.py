"""What layers and files contain that decides whether Lambda runs them."""
