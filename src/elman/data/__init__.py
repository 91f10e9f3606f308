"""From a source to token ids: reading, cleaning, splitting into tokens, vocabularies, batches. Imports no models."""
