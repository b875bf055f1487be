"""Weight files: where they come from, their digests, and how the ones that PyPI packages carry become state dicts."""
