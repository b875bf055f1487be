from .image_set import ImageSetContract as ImageSetContract
from .stateful import StatefulContract as StatefulContract
