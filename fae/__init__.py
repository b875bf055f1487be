"""The mathematics: frozen encoders, the feature autoencoder, pixel decoder, generators, their training and sampling."""
