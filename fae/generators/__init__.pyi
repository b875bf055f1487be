from .base import EMPTY_PARTS as EMPTY_PARTS
from .base import Generator as Generator
from .diffusion import DiffusionGenerator as DiffusionGenerator
from .flow import FlowGenerator as FlowGenerator
from .flow import FlowLoss as FlowLoss
