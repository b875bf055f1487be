from .bytestore import ByteStoreContract as ByteStoreContract
from .source import SourceContract as SourceContract
