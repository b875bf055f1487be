"""Which images of a data set are masks, maps or thumbnails of others, by their folders and names."""
