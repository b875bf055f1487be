"""Fields of an image as people write them: labels and their names, captions, splits, and those that cannot be read."""
