"""Whether every byte of an archive is what was packed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stores.backends import LocalByteStore
from stores.care.archive_files import read_archive, read_checked, read_stored_manifest
from stores.core import ARCHIVE
from stores.format import CorruptStoreError

Progress = Callable[[int, int], None]


@dataclass
class ArchiveReport:
    """What `verify_archive` found.

    Attributes:
        path: the archive's folder.
        content_id: of the store in it; None where the archive does not say it any more.
        files: files with a digest.
        num_bytes: bytes of these that are as they were packed.
        problems: damaged and missing files, with what is wrong.
        unexpected: files that were not packed and do no harm.
    """

    path: Path
    content_id: str | None = None
    files: int = 0
    num_bytes: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every file is as it was packed."""
        return not self.problems


def verify_archive(archive: Path | str, progress: Progress | None = None) -> ArchiveReport:
    """Read every file of an archive and compare it with its digest in archive.json, which has one of its own.

    Args:
        archive: its folder.
        progress: called with files done and files in all.

    Raises:
        ForeignStoreError: no archive, or one of a newer release.
    """
    source, report = LocalByteStore(archive), ArchiveReport(Path(archive))
    try:
        digests = read_archive(source)
    except CorruptStoreError as error:
        report.problems[ARCHIVE] = str(error).partition(f"{ARCHIVE}: ")[2]
        return report
    report.files = len(digests)
    for done, key in enumerate(sorted(digests), 1):
        try:
            report.num_bytes += len(read_checked(source, digests, key))
        except (CorruptStoreError, ValueError) as error:
            report.problems[key] = str(error).removeprefix(f"{source.url}/{key}: ")
        if progress is not None:
            progress(done, len(digests))
    report.unexpected = sorted({*source.keys(), *source.unexpected_keys()} - {*digests, ARCHIVE})
    if report.sound:
        report.content_id = read_stored_manifest(source, digests).content_id
    return report
