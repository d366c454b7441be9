"""A store in a bucket of S3 or of a server that speaks its protocol: conditional writes."""

import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from featurecache.errors import MissingResourceError, StoreError
from featurecache.location import bucket_and_prefix
from featurecache.storage import Storage

if TYPE_CHECKING:
    from zarr.abc.store import Store

T = TypeVar("T")

_CONCURRENT_READS = 16
_TIMEOUT = "300s"  # of one request, instead of 30 s: a chunk of maps may have 100 MB
_PAUSES_S = (0.1, 0.4, 1.6, 6.4)  # after "conflict": two requests met, and which one won is open
_TROUBLE = (
    ("NoSuchBucket", "there is no bucket of this name: make it, or correct the URL"),
    (
        "no credentials",
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
        "AWS_SESSION_TOKEN), or AWS_SKIP_SIGNATURE=true for a public bucket",
    ),
    ("[Rr]edirect|AuthorizationHeaderMalformed", "the bucket is in another region: set AWS_REGION"),
    (
        "InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|401 Unauthorized",
        "the credentials were not accepted: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
        "AWS_SESSION_TOKEN",
    ),
    ("AccessDenied|403 Forbidden", "access was denied: these credentials may not do that"),
    ("builder error", "AWS_ENDPOINT_URL is not https://: AWS_ALLOW_HTTP=true allows http://"),
    (
        "error sending request|dns error|timed out",
        "the server cannot be reached: check the network and AWS_ENDPOINT_URL",
    ),
    ("501 Not Implemented", "the server has no conditional writes, which a store needs"),
    ("409 Conflict", "another run is writing the same object all the time: run the command again"),
)
_METADATA_SERVICE = "http://169.254.169.254/"  # where a machine of AWS gets credentials from


class ObjectStorage(Storage):
    """A store at ``s3://BUCKET/PREFIX``.

    Objects cannot be renamed, so what belongs together is written one by one, always in the same
    order and only where nothing is (``If-None-Match: *``); the last object is the commit. A rival
    that writes the same continues; one that writes something else stops at the first difference.

    Credentials, region and endpoint come from the standard environment variables of AWS.

    Parameters
    ----------
    url : str
        From `parse_location`.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.bucket, self.prefix = bucket_and_prefix(url)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url,)  # the client is made anew in another process

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return self.url.rpartition("/")[2]

    def read(self, key: str) -> bytes:
        """What is under a key, see `Storage.read`."""
        return self._read(key)[0]

    def read_below(self, prefix: str) -> dict[str, bytes]:
        """Everything below a prefix, see `Storage.read_below`; one listing, then many at once."""
        listed = self._asked(lambda: self._obstore.list(self._client, prefix=prefix).collect())
        keys = [entry["path"] for entry in listed]
        with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
            contents = list(pool.map(self.read, keys))
        return {
            key.removeprefix(f"{prefix}/"): content
            for key, content in zip(keys, contents, strict=True)
        }

    def exists(self, key: str) -> bool:
        """Whether there is an object, see `Storage.exists`."""
        try:
            self._asked(lambda: self._obstore.head(self._client, key))
        except FileNotFoundError:
            return False
        return True

    def files(self, prefix: str = "") -> list[str]:
        """Objects directly below a prefix, see `Storage.files`; one listing."""
        return self._names(prefix, [entry["path"] for entry in self._listed(prefix)["objects"]])

    def folders(self, prefix: str = "") -> list[str]:
        """Longer prefixes below a prefix, see `Storage.folders`; one listing."""
        return self._names(prefix, self._listed(prefix)["common_prefixes"])

    def _listed(self, prefix: str) -> Any:
        return self._asked(lambda: self._obstore.list_with_delimiter(self._client, prefix or None))

    @staticmethod
    def _names(prefix: str, paths: list[str]) -> list[str]:
        return sorted(path.removeprefix(f"{prefix}/") for path in paths)

    def write(self, key: str, data: bytes) -> None:
        """Replace an object, see `Storage.write`."""
        self.put(key, data, "overwrite")

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one, see `Storage.create`."""
        return self.put(key, data, "create")

    def replace(self, key: str, data: bytes, expected: bytes) -> bool:
        """Replace an object that is as expected, see `Storage.replace`."""
        found, tag = self._read(key)
        if found != expected:
            return False
        # The answer to a write that was done may get lost, and its repetition is refused.
        return self.put(key, data, {"e_tag": tag}) or self.read(key) == data

    def put(self, key: str, data: bytes, mode: Any) -> bool:
        """Write one object whole: the one place that does.

        Parameters
        ----------
        key : str
            Below the store's prefix.
        data : bytes
            All of it.
        mode : {"overwrite", "create"} or mapping
            Whether it may be there; or ``e_tag`` of what must be there.

        Returns
        -------
        bool
            False where the condition did not hold.
        """
        errors = self._obstore.exceptions
        unmet = (errors.AlreadyExistsError, errors.PreconditionError)
        for pause_s in (*_PAUSES_S, None):
            try:
                self._asked(
                    lambda: self._obstore.put(
                        self._client, key, data, mode=mode, use_multipart=False
                    ),
                    expected=unmet,
                )
                return True
            except unmet as error:
                if "409 Conflict" not in str(error):
                    return False
                if pause_s is None:
                    self._give_up(error)
                time.sleep(pause_s)
        return False

    def publish(self, prefix: str, files: Mapping[str, bytes]) -> bool:
        """Write objects in order, the last as the commit, see `Storage.publish`.

        Whoever differs from a rival sees it at the first object that differs, and has written
        nothing that differs before: no mixture can come about.

        Raises
        ------
        StoreError
            The server ignores the condition of a write.
        """
        for name, data in files.items():
            key = f"{prefix}/{name}".lstrip("/")
            if not self.create(key, data) and self.read(key) != data:
                return False
        self._check_conditions(key, data)
        return True

    def _check_conditions(self, key: str, data: bytes) -> None:
        """Create what is there: a server that keeps its promise refuses."""
        if self.create(key, data):
            raise StoreError(
                f"{self}: the server ignores conditional writes (If-None-Match), without which two "
                "runs could damage each other's features. Update it, or use a local store"
            )

    def discard_debris(self, prefix: str) -> None:
        """Nothing: rivals may be at work, see `Storage.discard_debris`."""

    def check_writable(self) -> None:
        """Ask the server, see `Storage.check_writable`; writes what is there already, if at all.

        Raises
        ------
        StoreError
            There is no such bucket, access is denied, or the server ignores conditions.
        """
        if self.exists("zarr.json"):
            self._check_conditions("zarr.json", self.read("zarr.json"))
        else:
            self._listed("")

    def remove_debris(self) -> int:
        """Nothing: a part that was begun is continued by the next run."""
        return 0

    def zarr_store(self) -> "Store":
        """The bucket for zarr, see `Storage.zarr_store`."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._client, read_only=True)

    def trouble(self, error: Exception) -> StoreError | None:
        """An error of the server in plain words, see `Storage.trouble`."""
        if not isinstance(error, self._obstore.exceptions.BaseError | FileNotFoundError):
            return None
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT")
        place = f"{self} at {_without_user(endpoint)}" if endpoint else str(self)
        answer = _answer(str(error))
        words = next((words for pattern, words in _TROUBLE if re.search(pattern, answer)), answer)
        return StoreError(f"{place}: {words}")

    def _read(self, key: str) -> tuple[bytes, str | None]:
        def get() -> tuple[bytes, str | None]:
            result = self._obstore.get(self._client, key)
            return bytes(result.bytes()), result.meta["e_tag"]

        return self._asked(get)

    def _asked(self, request: Callable[[], T], expected: tuple[type[Exception], ...] = ()) -> T:
        """The server's answer, or its error in plain words."""
        try:
            return request()
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            self._give_up(error)
        except expected:
            raise
        except self._obstore.exceptions.BaseError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> NoReturn:
        raise self.trouble(error) or StoreError(f"{self}: {type(error).__name__}") from None

    @property
    def _obstore(self) -> Any:
        try:
            import obstore
            import obstore.exceptions
        except ImportError:
            raise MissingResourceError(
                f"{self} needs the package obstore: pip install 'featurecache[s3]'"
            ) from None
        return obstore

    @cached_property
    def _client(self) -> Any:
        obstore = self._obstore
        from obstore.store import S3Store

        try:
            # Given as client_options, it would replace all that the environment says of the client.
            config: Any = {} if "AWS_TIMEOUT" in os.environ else {"timeout": _TIMEOUT}
            return S3Store(self.bucket, prefix=self.prefix or None, config=config)
        except obstore.exceptions.BaseError as error:
            self._give_up(error)


def _answer(text: str) -> str:
    """Code and status of an answer, or what went wrong before there was one.

    The rest is left out: it names the key's id, and objects whose names could be taken for codes.
    """
    if _METADATA_SERVICE in text.partition("\n")[0]:
        return "no credentials"
    code = re.search(r"<Code>(\w+)</Code>", text)
    status = text.partition("\n")[0].partition("<")[0].rpartition(" - ")[2].rstrip(": ")
    return _without_user(f"{status} ({code.group(1)})" if code else status)


def _without_user(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
