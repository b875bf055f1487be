"""Blobs in an object store (s3://, gs://, az://, memory://) or, to read, on a web server, through obstore."""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stores.backends.bytestore import ByteStore, check_key
from stores.backends.fileio import is_buffer

WEB_SCHEMES = ("http", "https")
SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "memory", *WEB_SCHEMES)
_CLIENT_OPTIONS = {"timeout": timedelta(minutes=5), "connect_timeout": timedelta(seconds=20)}
# The only retries: obstore repeats a request after a 5xx answer, a refused or dropped connection, or a timeout.
_RETRIES = {"max_retries": 6, "retry_timeout": timedelta(minutes=2)}
# But it never repeats a conditional write whose answer got lost; `swap` finds out what became of it.
_SWAP_ATTEMPTS = 5


# What providers and their client say of a bucket that is missing, and of one in another region.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_DENIED = ("403 Forbidden", "401 Unauthorized")
# The client does not say that it is plain http that it refuses.
_PLAIN_HTTP = "HTTP error: builder error"
_UNREACHABLE = ("error sending request", "client error (Connect)")
_WRONG_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "redirect without LOCATION")


class BucketError(OSError, ValueError):
    """The bucket or container of a URL is missing or in another region: nothing can be read or written there."""


class ObjectByteStore(ByteStore):
    """A bucket, or a prefix of one; credentials come from the environment, never from the URL.

    A PUT is atomic and durable by itself. Pickled by its URL: workers look their credentials up anew.

    Raises:
        ValueError: a scheme that is not known, or a URL with credentials or options in it.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self._obstore, self._exceptions = _library("obstore"), _library("obstore.exceptions")
        self._remote = _memory(self.url) if self.url.startswith("memory://") else _connect(self.url)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return ObjectByteStore, (self.url,)

    def read(self, key: str) -> bytes:
        """GET of the object."""
        with self._errors(key):
            return bytes(self._obstore.get(self._remote, check_key(key)).bytes())

    def read_at_most(self, key: str, most: int) -> bytes:
        """GET of the object, or of its first bytes once the answer says how many there are."""
        with self._errors(key):
            answer = self._obstore.get(self._remote, check_key(key))
            if int(answer.meta["size"]) <= most:
                return bytes(answer.bytes())
            return bytes(self._obstore.get_range(self._remote, key, start=0, length=most + 1))

    def read_into(self, key: str, start: int, buffer: memoryview) -> None:
        """GET of a range of the object."""
        view = memoryview(buffer).cast("B")
        if not len(view):
            return
        with self._errors(key):
            answer = self._obstore.get_range(self._remote, check_key(key), start=start, length=len(view))
        found = memoryview(answer)
        if len(found) != len(view):
            raise OSError(f"{self.url}/{key}: expected {len(view)} bytes at {start}; received {len(found)}")
        view[:] = found

    def size(self, key: str) -> int:
        """HEAD of the object."""
        with self._errors(key):
            return int(self._obstore.head(self._remote, check_key(key))["size"])

    def write(self, key: str, data: Any, before_visible: Callable[[], object] | None = None) -> None:
        """One PUT of the joined buffers."""
        check_key(key)
        self._check_writable()
        body = bytes(data) if is_buffer(data) else b"".join(memoryview(part).cast("B") for part in data)
        if before_visible is not None:
            before_visible()
        with self._errors(key):
            self._obstore.put(self._remote, key, body)

    def write_file(self, key: str, file: Path) -> None:
        """The same of a file, a large one in several parts, which appear as one object."""
        check_key(key)
        self._check_writable()
        with self._errors(key):
            self._obstore.put(self._remote, key, file)

    def delete(self, key: str) -> None:
        """DELETE of the object."""
        self._check_writable()
        try:
            with self._errors(key):
                self._obstore.delete(self._remote, check_key(key))
        except FileNotFoundError:
            return

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys below the prefix, by a list request."""
        # Object stores list by whole path parts; the rest of the prefix is looked at here.
        folder = prefix.rpartition("/")[0] or None
        with self._errors(prefix):
            batches = list(self._obstore.list(self._remote, prefix=folder))
        found = [entry["path"] for batch in batches for entry in batch]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def num_bytes(self, prefix: str = "") -> int:
        """Bytes below the prefix, by the same list request as `keys`."""
        with self._errors(prefix):
            batches = list(self._obstore.list(self._remote, prefix=prefix.rpartition("/")[0] or None))
        return sum(entry["size"] for batch in batches for entry in batch if entry["path"].startswith(prefix))

    def folders(self) -> list[str]:
        """Common prefixes directly below the root."""
        with self._errors(""):
            return sorted(self._obstore.list_with_delimiter(self._remote)["common_prefixes"])

    def swap(self, key: str, expected: bytes | None, new: bytes | None) -> bool:
        """A conditional PUT on the version that was read."""
        self._check_writable()
        for attempt in range(1, _SWAP_ATTEMPTS + 1):
            found, mode = self._versioned(key)
            if found != expected:
                return found == new
            try:
                self._write_version(key, new, mode)
            except (self._exceptions.AlreadyExistsError, self._exceptions.PreconditionError):
                continue  # Another process was faster, or this write's answer got lost and obstore repeated it.
            except (BucketError, PermissionError):
                raise
            except OSError:
                if attempt == _SWAP_ATTEMPTS:
                    raise
            else:
                return True
        return False

    def _check_writable(self) -> None:
        if urlsplit(self.url).scheme in WEB_SCHEMES:
            raise PermissionError(f"{self.url}: expected a location to write to; a web server is only read from")

    def _write_version(self, key: str, new: bytes | None, mode: Any) -> None:
        if new is None:
            self.delete(key)
            return
        with self._errors(key):
            self._obstore.put(self._remote, key, new, mode=mode)

    def sweep(self) -> list[str]:
        """Nothing to remove: an interrupted PUT leaves nothing."""
        return []

    def _versioned(self, key: str) -> tuple[bytes | None, Any]:
        """The blob, and the `mode` that lets a put replace only this version of it."""
        try:
            with self._errors(key):
                answer = self._obstore.get(self._remote, check_key(key))
                return bytes(answer.bytes()), {"e_tag": answer.meta["e_tag"]}
        except FileNotFoundError:
            return None, "create"

    def _check_bucket(self, error: BaseException) -> None:
        """Raise `BucketError` when this error of the client means that."""
        text = str(error)
        if any(sign in text for sign in _NO_BUCKET):
            raise BucketError(
                f"{self.url}: expected a bucket of this name; received none; create it, or correct the URL (or "
                "AWS_ENDPOINT_URL)"
            ) from error
        if any(sign in text for sign in _WRONG_REGION):
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "none"
            raise BucketError(
                f"{self.url}: expected the bucket's own region; received {region}; set AWS_REGION to it"
            ) from error
        if _PLAIN_HTTP in text:
            raise BucketError(
                f"{self.url}: expected an https address in AWS_ENDPOINT_URL; received another; set AWS_ALLOW_HTTP=true "
                "where plain http is meant"
            ) from error

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Errors of the backend as OSErrors that name the blob."""
        exceptions = self._exceptions
        location = f"{self.url}/{key}"
        try:
            yield
        except FileNotFoundError as error:
            self._check_bucket(error)
            raise FileNotFoundError(f"{location}: no such object") from error
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise
        except exceptions.BaseError as error:
            self._check_bucket(error)
            denied = isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
            if denied or any(sign in str(error) for sign in _DENIED):  # lists say it in words alone
                raise PermissionError(
                    f"{location}: access denied; set the provider's usual variables (such as AWS_ACCESS_KEY_ID)"
                ) from error
            said = str(error).splitlines()[0]
            if any(sign in said for sign in _UNREACHABLE):
                said = f"expected an answer of its server; received none; check network and AWS_ENDPOINT_URL ({said})"
            raise OSError(f"{location}: {said}") from error


def check_url(url: str) -> str:
    """The URL without a trailing slash.

    Raises:
        ValueError: a scheme that is not known, or credentials or options in the URL, which would end up in logs.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"expected a path or a URL of {', '.join(SCHEMES)}; received the scheme {parts.scheme!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            f"{parts.scheme}://{parts.hostname or ''}{parts.path}: expected a URL without credentials or options; "
            "set them in the environment (such as AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL)"
        )
    return url.rstrip("/")


def _library(name: str) -> Any:
    """A module of obstore, which local stores do without."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError("URLs need the package obstore; run `pip install 'fae-pipe[s3]'`") from error


def _connect(url: str) -> Any:
    # Options given here replace those that the environment would have set.
    if urlsplit(url).scheme in WEB_SCHEMES:
        options = {**_CLIENT_OPTIONS, "allow_http": True}
        return _library("obstore.store").HTTPStore.from_url(url, client_options=options, retry_config=_RETRIES)
    plain_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    options = {**_CLIENT_OPTIONS, "allow_http": plain_http}
    return _library("obstore.store").from_url(url, client_options=options, retry_config=_RETRIES)


@cache
def _memory(url: str) -> Any:
    """One store for each memory:// URL of this process."""
    return _library("obstore.store").MemoryStore()
