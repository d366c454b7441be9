"""User identifiers (PatientID, UIDs) to the ids that a store holds, and the key between them."""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from featurecache.errors import StoreMismatchError, UsageError

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Maps identifiers to store ids: keyed hashes, or unchanged for public data sets.

    A hash is BLAKE2b-128 of the value, keyed with 32 random bytes and personalised with the
    kind, so that equal values of different kinds differ and nobody without the key can test
    a guess.

    Parameters
    ----------
    key : bytes or None
        32 secret bytes; None keeps identifiers as they are (``--keep-ids``).
    """

    key: bytes | None

    @classmethod
    def load(cls, path: Path | None, *, keep: bool = False) -> "Identifiers":
        """Read the key file.

        Parameters
        ----------
        path : Path or None
            The key file that `create_key` wrote. Ignored when `keep` is true.
        keep : bool
            Keep identifiers as they are.

        Returns
        -------
        Identifiers

        Raises
        ------
        UsageError
            The file is missing or is not a key.
        """
        if keep:
            return cls(None)
        if path is None or not path.is_file():
            raise UsageError(
                f"the key file {path} is missing. Identifiers in a store are hashed with it, so "
                "that labels can be joined; without it, joining fails. Point --key at the key that "
                "the store was made with, or use --keep-ids for a public, de-identified data set"
            )
        text = path.read_text(encoding="ascii", errors="replace").strip()
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise UsageError(
                f"{path} is not a key file: expected 64 hexadecimal digits, got {len(text)} "
                "characters. Restore it from a backup; a new key makes a new store"
            )
        return cls(bytes.fromhex(text))

    @property
    def digest(self) -> str | None:
        """Public digest of the key (32 hex digits), or None where identifiers are kept."""
        if self.key is None:
            return None
        return hashlib.blake2b(self.key, digest_size=16, person=b"key digest").hexdigest()

    def patient(self, patient_id: str) -> str:
        """Store id of a PatientID."""
        return self._map(b"patient", patient_id)

    def study(self, study_uid: str) -> str:
        """Store id of a StudyInstanceUID."""
        return self._map(b"study", study_uid)

    def series(self, series_key: str) -> str:
        """Store id of a SeriesInstanceUID, or of one stack of it (``UID#2``)."""
        return self._map(b"series", series_key)

    def slice(self, sop_uid: str, frame: int = 0) -> str:
        """Store id of a SOPInstanceUID; later frames of a multi-frame file are ``UID#2``, ..."""
        return self._map(b"slice", sop_uid if frame == 0 else f"{sop_uid}#{frame + 1}")

    def source(self, digest: str) -> str:
        """Keyed digest of a file's digest (32 hex digits): says that it changed, and no more."""
        key, data = self.key or b"", digest.encode()
        return hashlib.blake2b(data, digest_size=16, key=key, person=b"source").hexdigest()

    def check(self, digest: str | None) -> None:
        """Compare with the key digest that a store holds.

        Parameters
        ----------
        digest : str or None
            The store's key digest; None for a store that keeps identifiers.

        Raises
        ------
        StoreMismatchError
            The store was made with another key, or with another choice of ``--keep-ids``.
        """
        if digest == self.digest:
            return
        if digest is None or self.digest is None:
            theirs = "keeps identifiers as they are" if digest is None else "holds hashed ids"
            raise StoreMismatchError(
                f"the store {theirs}, but this run was asked for the opposite. "
                f"{'Add' if digest is None else 'Leave out'} --keep-ids, or use another --store"
            )
        raise StoreMismatchError(
            "the store was made with another key: ids would not match. "
            "Point --key at the key file that the store was made with"
        )

    def _map(self, kind: bytes, value: str) -> str:
        if self.key is None:
            return value
        data = value.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, digest_size=16, key=self.key, person=kind).hexdigest()


def is_digest(value: object) -> bool:
    """Whether something has the form of a hashed id, or of a digest of a key or a file.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        True for 32 hexadecimal digits.
    """
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value) is not None


def create_key(path: Path) -> bool:
    """Write a new random key, readable by its owner only, unless there is one.

    Parameters
    ----------
    path : Path
        Where the key goes; parent folders must exist.

    Returns
    -------
    bool
        True if a key was written, False if `path` existed already.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(f"cannot write the key file {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return True
