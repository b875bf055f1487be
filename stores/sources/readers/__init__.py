"""Readers of bytes: folders, tar and zip archives, Parquet and Arrow files."""
