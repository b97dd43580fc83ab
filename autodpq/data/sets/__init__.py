"""The data sets: published ones, generated ones, one's own."""
