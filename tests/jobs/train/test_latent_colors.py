"""Stores as colors: a square of one color for each token, and of moments the means alone."""

import numpy as np
import torch

from fae.probes import PrincipalColors
from jobs.train.latent_colors import CELL_PIXELS, color_cells, colors_of
from stores import ArraySpec, StoreWriter, new_index


def store_of(folder, latents, kind):
    index, arrays = new_index([f"{row}" for row in range(len(latents))]), [ArraySpec("latents", latents.shape[1:])]
    writer = StoreWriter.create(folder, "latents", kind, arrays, index, {}, attributes={"latents": kind}, permute=False)
    for shard in writer.missing_shards():
        writer.write_shard(shard, {"latents": latents[list(writer.shard_rows(shard))][:, None]})
    return writer.finalize()


def test_tokens_are_squares_in_the_colors_of_their_components(tmp_path):
    latents = np.random.default_rng(0).normal(size=(20, 3, 2, 6)).astype(np.float16)
    expected = PrincipalColors.fit(torch.from_numpy(latents.reshape(-1, 6)))
    decoded = color_cells(colors_of(store_of(tmp_path, latents, "mean")), latents[:4])
    assert decoded.shape == (4, 3 * CELL_PIXELS, 2 * CELL_PIXELS, 3)
    for row in range(3 * CELL_PIXELS):
        token = torch.from_numpy(latents[2, row // CELL_PIXELS, 1])
        np.testing.assert_array_equal(decoded[2, row, CELL_PIXELS:], np.tile(expected.to_rgb(token), (CELL_PIXELS, 1)))


def test_of_moments_the_variances_change_nothing(tmp_path):
    means, others = (np.random.default_rng(seed).normal(size=(20, 2, 2, 4)).astype(np.float16) for seed in (0, 1))
    moments = np.concatenate([means, others * 100], axis=-1)
    plain = color_cells(colors_of(store_of(tmp_path, means, "mean")), means)
    np.testing.assert_array_equal(color_cells(colors_of(store_of(tmp_path, moments, "moments")), moments), plain)
