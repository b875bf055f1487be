from .exports import Item as Item
from .exports import export as export
from .imports import import_latents as import_latents
from .latent_meaning import LatentMeaning as LatentMeaning
from .npz import npz_arrays as npz_arrays
from .npz import npz_parts as npz_parts
from .npz import write_npz as write_npz
