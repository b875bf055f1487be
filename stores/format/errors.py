"""What can be wrong with a store, one class for each thing a caller may want to tell apart."""


class StoreError(ValueError):
    """A store cannot do what was asked; the message says what was expected, what was found and what to do."""


class StoreNotFoundError(StoreError):
    """There is no store at the given place."""


class IncompleteStoreError(StoreError):
    """The store is still being written, or its writing was interrupted."""


class ForeignStoreError(StoreError):
    """A file belongs to another store, or the store to another program."""


class CorruptStoreError(StoreError):
    """A file of the store is missing, damaged or malformed."""


class LeaseHeldError(StoreError):
    """Another process is writing this store."""


class HeldElsewhereError(LeaseHeldError):
    """The process that writes the store is on another host, where nobody can see from here whether it lives."""


class NonFiniteError(StoreError):
    """A value is NaN or infinite, or does not fit the stored dtype."""


class TooManyRejectedError(StoreError):
    """More images were rejected than the caller allows."""
