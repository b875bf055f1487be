from .bytestore import ByteStoreContract as ByteStoreContract
from .image_set import ImageSetContract as ImageSetContract
from .source import SourceContract as SourceContract
