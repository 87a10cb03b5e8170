"""Images: systems on pictures."""
