from .diffusion import EMPTY_PARTS as EMPTY_PARTS
from .diffusion import DiffusionGenerator as DiffusionGenerator
from .diffusion import Generator as Generator
from .flow import FlowGenerator as FlowGenerator
from .flow import FlowLoss as FlowLoss
