"""Tables of labels and captions: how they are parsed, which column is what, and which image a row names."""
