"""Networks and loss terms."""
