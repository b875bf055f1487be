"""The commands of `fae-pipe`, one file for each part of the pipeline."""
