"""Layouts: what folders, names, texts and tables of a data set mean, one file each. It imports readers and tables."""
