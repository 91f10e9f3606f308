"""From a source to token ids: read, clean, split into symbols, number by a vocabulary; knows no models."""
