"""Models, one a file; every one is a function (inputs, state) -> (prediction, state)."""
