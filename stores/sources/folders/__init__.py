"""What the folders of images mean: wrappers, splits, classes, domains, parts. It imports fields and columns."""
