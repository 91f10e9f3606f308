"""Models, one family a file; every model is a function (inputs, state) -> (prediction, state).

A file of this package with a `SequenceModel` that has a `kind` is a model family, and nothing else names it:
`elman.models.build` imports every file.
"""
