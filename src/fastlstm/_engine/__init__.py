"""Passes over sequences: a call with its options and lengths, what a tape keeps, the loops over time."""
