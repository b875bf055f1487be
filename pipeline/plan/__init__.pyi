from .estimate import generator_needs as generator_needs
from .estimate import make_plan as make_plan
from .records import Machines as Machines
from .records import Plan as Plan
