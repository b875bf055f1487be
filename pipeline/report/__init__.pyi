from .gallery import Showing as Showing
from .write import write_report as write_report
