"""What chips share."""
