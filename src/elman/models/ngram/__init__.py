"""Models that count n-grams: counts, smoothing, the n-gram model, Markov chains, and experts for a hybrid."""
