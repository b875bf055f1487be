"""What a person touches: the fae-pipe command, recipes, run folders and the demo."""
