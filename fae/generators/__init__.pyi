from .alignment import Alignment as Alignment
from .alignment import AlignmentConfig as AlignmentConfig
from .alignment import early_block as early_block
from .base import EMPTY_PARTS as EMPTY_PARTS
from .base import Generator as Generator
from .diffusion import DiffusionGenerator as DiffusionGenerator
from .flow import FlowGenerator as FlowGenerator
from .flow import FlowLoss as FlowLoss
