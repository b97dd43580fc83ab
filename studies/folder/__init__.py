"""All that a study writes, and reads back."""
