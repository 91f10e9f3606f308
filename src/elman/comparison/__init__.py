"""Models and engines side by side."""
