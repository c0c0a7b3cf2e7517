"""What several rooms of the data share."""
