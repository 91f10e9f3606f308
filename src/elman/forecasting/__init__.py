"""Models of numbers in the order of time: each predicts the next value from those before it."""
