"""What is counted: n-grams, their smoothing, chains and experts."""
