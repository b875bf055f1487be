"""Text lists without a header: a name on each line, and perhaps a label, a caption, a split or a number behind it."""
