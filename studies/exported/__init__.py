"""Exported models on rows from files: what they predict, how two compare, how one is trained on."""
