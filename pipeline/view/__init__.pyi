from .server import Viewer as Viewer
from .server import ViewServer as ViewServer
