"""Text: systems on token sequences."""
