"""The commands that keep stores and runs whole and tidy: verify, diff and gc."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.console import FaeCommand, LocalPath, Settings, config_options, option

if TYPE_CHECKING:
    from jobs.executors import OnProgress
    from jobs.runs import RunReport
    from stores.backends import Location
    from stores.care import Repair, Report

FILE = LocalPath(exists=True, dir_okay=False, path_type=Path)
FOLDER = LocalPath(exists=True, file_okay=False, path_type=Path)
_SHOWN = 20
STORE = "NAME|PATH|URL"


def store_at(settings: Settings, text: str, kinds: Sequence[str] | None = None, first: bool = False) -> "Location":
    """Where the store lies that a name, the beginning of a folder's name, `KIND/NAME`, a path or a URL means.

    `kinds` are those of stores, all when absent; with `first` the first of several that have such a store is meant.

    Raises:
        ArtifactError: There is none; several are meant, or a bucket set.
    """
    from pipeline.artifacts import STORE_KINDS, ArtifactError, find_location, name_its_stores

    if found := set_at(settings, text):
        raise ArtifactError(f"{text}: expected one store; received {found}; {name_its_stores(found)}")
    return find_location(settings.location, text, kinds or STORE_KINDS, complete=True, first=first)


def set_at(settings: Settings, text: str, or_run: bool = False) -> "Location | None":
    """Where the bucket set lies that a path, a URL, `buckets/NAME` or a name that no store has means; else None.

    With `or_run` a name that a run has means the run.
    """
    from jobs.runs import KINDS
    from pipeline.artifacts import FOLDER_OF_SETS, STORE_KINDS, is_bucket_set, set_at_url, set_named, stores_named
    from stores.backends import is_url

    if is_bucket_set(Path(text)):
        return Path(text)
    if is_url(text) or Path(text).exists():
        return set_at_url(settings.location, text)
    kind, _, rest = text.partition("/")
    known = (*STORE_KINDS, *KINDS) if or_run else STORE_KINDS
    kinds = [kind] if rest and kind in known else known
    if kind != FOLDER_OF_SETS and any(stores_named(settings.root, one, rest or text) for one in kinds):
        return None
    return set_named(settings.location, kind if rest and kind in STORE_KINDS else None, rest or text)


@click.command("verify", cls=FaeCommand)
@click.argument("location", metavar="STORE|RUN|ARCHIVE")
@option("Repair", "--repair", is_flag=True, help="Repair what can be repaired of a store.")
@config_options(recipe="none")
def verify_command(settings: Settings, location: str, repair: bool) -> int:
    """Read every byte of a store, a run or an archive and compare it with its checksums, digests and records.

    What is verified is a path (of a bucket set or an archive, too), a store's URL, or the name of a store or run; of a
    name that several kinds have, the newest of each. Exit code 0 when all is sound, 1 when damage is left. With the
    option for it, metadata, indexes and records of a store are restored from what else it holds; a shard whose values
    are lost is made missing, and the command that writes the store then writes exactly these again; of a bucket set
    each store is repaired. Of a run the record, the finished model, the metrics and the checkpoints are read.
    """
    from pipeline.artifacts import find_location, kinds_with_name
    from stores.core import is_archive

    if Path(location).is_dir() and is_archive(Path(location)):
        return _verify_archive(settings, Path(location), repair)
    if found := set_at(settings, location, or_run=True):
        return _verify_set(settings, found, repair)
    kinds = () if repair else kinds_with_name(settings.root, location)
    names = [f"{kind}/{location}" for kind in kinds] if len(kinds) > 1 else [location]
    records = [_verify_at(settings, find_location(settings.location, name), repair) for name in names]
    sound = all(record["sound"] for record in records)
    settings.output.result(records[0] if len(records) == 1 else {"sound": sound, "artifacts": records})
    return 0 if sound else 1


def _verify_at(settings: Settings, path: "Location", repair: bool) -> dict[str, Any]:
    """What is found of a store or run, with `sound`; it is said, too."""
    from jobs.remote import verify_remote_run
    from jobs.runs import RUN_FILE, verify_run
    from stores.backends import open_bytestore

    if not open_bytestore(path).exists(RUN_FILE):
        return _verify_store(settings, path, repair)
    if repair:
        raise click.UsageError(
            "--repair: expected a store; received a run, which holds nothing twice. Restore its damaged files from a "
            "copy; a training goes on without a damaged checkpoint"
        )
    report = verify_remote_run(path) if isinstance(path, str) else verify_run(path)
    _say_run(settings, report)
    return {**vars(report), "sound": report.sound}


def _verify_archive(settings: Settings, path: Path, repair: bool) -> int:
    from stores.care import verify_archive

    if repair:
        raise click.UsageError(
            "--repair: expected a store; received an archive, which holds nothing twice; pack the store again"
        )
    with settings.output.progress("verify", "files") as progress:
        report = verify_archive(path, lambda done, total: progress(done, total, {}))
    _say_lines(settings, [f"{key}: {what}" for key, what in report.problems.items()])
    _say_lines(settings, [f"{key}: expected no such file; it was not packed (harmless)" for key in report.unexpected])
    found, style = f"sound (an archive; {report.files} files, {report.num_bytes:,} bytes)", "green"
    if not report.sound:
        found, style = f"{len(report.problems)} damaged files (an archive); pack the store again", "bold red"
    settings.output.say(f"{path}: {found}", style=style)
    settings.output.result({**vars(report), "sound": report.sound})
    return 0 if report.sound else 1


def _verify_set(settings: Settings, path: "Location", repair: bool) -> int:
    """Compare a bucket set's record and index with their digests, then verify, or repair, each of its stores."""
    from stores.core import member_locations, read_set_index, read_set_record

    record, say = read_set_record(path), settings.output.say
    rows, damaged = read_set_index(path, record).num_rows, []
    expected = {one["size"]: one["content_id"] for one in record["buckets"]}
    with settings.output.progress("verify", "shards") as progress:
        for size, location in member_locations(path, record).items():
            if not _is_sound(settings, location, expected[size], repair, progress):
                damaged.append(str(location))
    if damaged:
        names = ", ".join("/".join(one.split("/")[-2:]) for one in damaged)
        say(f"{path}: {len(damaged)} of {len(expected)} stores damaged: {names}", style="bold red")
        if not repair:
            say(f"repair them: fae-pipe verify {shlex.quote(str(path))} --repair")
        say("then give the command that made the set (`fae-pipe extract`, `encode`, `extract-text`) again")
    else:
        say(f"{path}: {rows:,} images in {len(expected)} stores, all sound", style="green")
    found = {"location": str(path), "rows": rows, "stores": [*expected], "damaged": damaged}
    settings.output.result({**found, "sound": not damaged})
    return 1 if damaged else 0


def _is_sound(settings: Settings, location: "Location", content_id: str, repair: bool, progress: "OnProgress") -> bool:
    """Whether a store of a set is sound, or is so after its repair, and still the one with this content id."""
    from stores import StoreNotFoundError, open_store

    try:
        report, done = _examine(settings, location, repair, progress)
    except StoreNotFoundError as error:
        settings.output.say(f"{location}: {error}")
        return False
    if not (report.sound if done is None else not done.unfinished):
        return False
    if done is None and not report.complete:
        return False
    other = open_store(location).content_id != content_id
    if other:
        settings.output.say(f"{location}: expected content_id {content_id[:12]} of the set; it is another store now")
    return not other


def _verify_store(settings: Settings, location: "Location", repair: bool) -> dict[str, Any]:
    with settings.output.progress("verify", "shards") as progress:
        report, done = _examine(settings, location, repair, progress)
    sound = report.sound or (done is not None and not done.unfinished)
    return {**asdict(report), "sound": sound, "repair": asdict(done) if done else None}


def _examine(
    settings: Settings, location: "Location", repair: bool, progress: "OnProgress"
) -> tuple["Report", "Repair | None"]:
    """Verify a store, repair it where it is asked for and needed, and say both."""
    from stores.care import repair as repair_store
    from stores.care import verify

    report = verify(location, lambda done, total: progress(done, total, {}))
    done = repair_store(location, report) if repair and not report.sound else None
    _say_report(settings, report)
    if done is not None:
        _say_repair(settings, done)
    return report, done


def _say_run(settings: Settings, report: "RunReport") -> None:
    say = settings.output.say
    _say_lines(settings, [f"{name}: {what}" for name, what in report.problems.items()])
    if report.without_digest:
        say(f"no digest was recorded for {', '.join(report.without_digest)}")
    looked_at = f"{'complete' if report.complete else 'unfinished'}; {report.files} files, {report.num_bytes:,} bytes"
    found, style = ("sound", "green") if report.sound else (f"{len(report.problems)} damaged files", "bold red")
    say(f"{report.path}: {found} ({looked_at})", style=style)


def _say_lines(settings: Settings, lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        settings.output.say(line)
    if len(lines) > _SHOWN:
        settings.output.say(f"… and {len(lines) - _SHOWN} more (--json lists all)")


def _say_report(settings: Settings, report: "Report") -> None:
    _say_lines(settings, [f"{p.key}: {p.what}{'' if p.repair else ' (harmless)'}" for p in report.problems])
    for one in report.added.values():
        _say_report(settings, one)
    state = "complete" if report.complete else f"unfinished, {report.missing_shards} shards to come"
    looked_at = f"{report.shards - report.missing_shards} of {report.shards} shards, {report.num_bytes:,} bytes"
    damaged = sum(bool(problem.repair) for problem in report.problems)
    found, style = ("sound", "green") if report.sound else (f"{damaged} damaged files", "bold red")
    settings.output.say(f"{report.url}: {found} ({state}; {looked_at})", style=style)


def _say_repair(settings: Settings, done: "Repair") -> None:
    say = settings.output.say
    say(f"restored {len(done.restored)} files, removed {len(done.removed)}")
    again = "run the command that writes this store (`fae-pipe extract`, `encode`) again"
    for name, one in done.added.items():
        say(f"{name}: restored {len(one.restored)} files, {len(one.recompute)} shards are lost")
        if one.unfinished:
            say(f"add {name} again (`fae-pipe stores add`)")
    if done.replan:
        say(f"manifest or index are lost with their backups; {again}: shards with good records are kept")
    elif done.recompute:
        say(f"{again}: it writes {len(done.recompute)} shards anew and keeps the others")


@click.command("diff", cls=FaeCommand)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@config_options(recipe="none")
def diff_command(settings: Settings, a: str, b: str) -> None:
    """Say which ingredients and which rows differ from store A to store B (names, paths or URLs)."""
    from stores import open_store
    from stores.care import diff

    found, say = diff(*(open_store(store_at(settings, text)) for text in (a, b))), settings.output.say
    for line in found.ingredients:
        say(f"ingredient {line}")
    say(f"values: {'the same' if found.same_values else 'others'}")
    pairs = [f"{old} → {new}" for old, new in found.renamed]
    changed = {f"changed {word}": keys for word, keys in found.changed.items()}
    for title, keys in {"added": found.added, "removed": found.removed, "renamed": pairs, **changed}.items():
        if keys:
            more = f", … {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            say(f"{title}: {len(keys)} rows: {', '.join(keys[:_SHOWN])}{more}")
    if found.equal:
        say("the same rows of the same ingredients", style="green")
    settings.output.result({"a": a, "b": b, **found.to_json()})


@click.command("gc", cls=FaeCommand)
@option("Removal", "--delete", is_flag=True, help="Remove it; else it is only listed.")
@option(
    "Removal",
    "--models",
    type=FOLDER,
    multiple=True,
    metavar="DIR",
    help="Other root folder whose models name stores that stay; may be repeated; needed for a --root at a URL.",
)
@config_options(recipe="none")
def gc_command(settings: Settings, delete: bool, models: tuple[Path, ...]) -> None:
    """List, or remove, stores that nothing was made from and what interrupted writes left behind.

    The newest store of each name stays, as do all that a model or another store was made from. Models are never
    removed, nor is anything that is being written.
    """
    from pipeline.artifacts import run_references
    from pipeline.console import format_bytes
    from stores.backends import is_url
    from stores.care import gc

    if is_url(settings.location) and not models:
        raise click.UsageError(
            f"--root {settings.location}: models of other roots may name its stores; pass --models DIR for each of them"
        )
    roots = (settings.root, *models)
    references = set[str]().union(*[run_references(root) for root in roots])
    found = gc(settings.location, references, dry_run=not delete)
    settings.output.table(
        [{"path": item.path, "size": format_bytes(item.num_bytes), "why": item.why} for item in found]
    )
    total = format_bytes(sum(item.num_bytes for item in found))
    if not found:
        settings.output.say(f"{settings.location}: nothing to remove")
    elif delete:
        settings.output.say(f"removed {total}")
    else:
        settings.output.say(f"{total} would be freed; --delete removes them")
    settings.output.result({"root": settings.location, "deleted": delete, "garbage": [vars(item) for item in found]})
