"""What named models share."""
