from .draws import BatchGenerator as BatchGenerator
from .draws import normal as normal
from .draws import uniform as uniform
from .draws import whole as whole
from .noise import Draw as Draw
from .noise import noise_stream as noise_stream
from .noise import seeded_noise as seeded_noise
