"""The mathematics: frozen encoders, the feature autoencoder, pixel decoder and generators, how they train and sample."""
