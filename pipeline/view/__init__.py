"""The viewer: a store's rows in a browser, page by page, served on loopback."""
