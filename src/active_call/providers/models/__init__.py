"""Speech models that are downloaded: which there are, where they lie, and how they come there."""
