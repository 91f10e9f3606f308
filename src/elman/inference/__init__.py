"""What a model is used for: measuring, generating, mixing, compressing."""
