"""What one call uses and costs, and what is done when its budget, or that of the day, is spent."""
