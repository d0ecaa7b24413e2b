"""What speaks against estimates, by source, and how far they are from other numbers."""
