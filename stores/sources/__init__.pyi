from .base import Source as Source
from .paths import SourceError as SourceError
from .scanning import ScanResult as ScanResult
from .scanning import scan as scan
from .select import open_source as open_source
