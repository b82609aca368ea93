"""What is trained on and measured with: readers of the data folder, leak checks, credits."""
