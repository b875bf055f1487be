"""The options of a training that starts while its store is still being written."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.config import GONE_SECONDS, PATIENCE_SECONDS, FollowConfig
from pipeline.console import FiniteNumber, Settings, WholeNumber, option, with_options

if TYPE_CHECKING:
    from stores import AnyStore

Callback = Callable[..., Any]
GROUP = "Following"


def follow_options(role: str, on_miss: bool = False) -> Callable[[Callback], Callback]:
    """Add `--follow` and what belongs to it; the command's function gets `follow` and `statistics_from`.

    Args:
        role: Kind of the store that is followed.
        on_miss: Add `--encode-on-miss` too; the function gets `encode_on_miss`.
    """
    options = [
        option(
            GROUP,
            "--follow",
            is_flag=True,
            help=f"Start while the store of {role} is still being written: each epoch has the rows that are committed "
            "when it begins, and the run records which.",
        ),
        option(
            GROUP,
            "--min-rows",
            type=WholeNumber(1),
            metavar="ROWS",
            help="Training rows to wait for; when absent 1,000, at least four batches, at most all there will be.",
        ),
        option(
            GROUP,
            "--statistics-from",
            metavar="NAME|PATH",
            help=f"Finished store of {role} whose channel statistics are taken; those of an unfinished one are not "
            "final.",
        ),
        option(
            GROUP,
            "--snapshot-statistics",
            is_flag=True,
            help="Take the channel statistics of the rows that are there when training begins, and record it.",
        ),
        option(
            GROUP,
            "--patience",
            type=FiniteNumber(0.0),
            metavar="SECONDS",
            help=f"Waiting ends after so long without a new row, {PATIENCE_SECONDS:.0f} when absent, and "
            f"{GONE_SECONDS:.0f} after the process that writes has gone.",
        ),
    ]

    if on_miss:
        options.append(
            option(
                GROUP,
                "--encode-on-miss",
                is_flag=True,
                help=f"Encode the {role} that nobody else writes in this training's first epoch, which has all rows, "
                "and commit them to the store, which is begun where it is not there. A recipe has no key for it: `run` "
                "does one stage after another.",
            )
        )

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def callback(
            *arguments: Any,
            follow: bool,
            min_rows: int | None,
            snapshot_statistics: bool,
            patience: float | None,
            **parameters: Any,
        ) -> Any:
            given = {
                "--min-rows": min_rows is not None,
                "--statistics-from": parameters["statistics_from"] is not None,
                "--snapshot-statistics": snapshot_statistics,
                "--patience": patience is not None,
                "--encode-on-miss": parameters.get("encode_on_miss", False),
            }
            if not follow and any(given.values()):
                name = next(name for name, is_given in given.items() if is_given)
                raise ValueError(f"{name}: expected --follow beside it; received none; give it, or leave {name} out")
            seconds = PATIENCE_SECONDS if patience is None else patience
            config = FollowConfig(min_rows, snapshot_statistics, seconds) if follow else None
            return function(*arguments, follow=config, **parameters)

        return with_options(callback, options)

    return decorate


def training_store(
    settings: Settings, kind: str, text: str | None, follow: FollowConfig | None, statistics_from: str | None
) -> "AnyStore":
    """The store or bucket set that a training reads: finished, or one store one that it follows while it is written."""
    from pipeline.artifacts import find_data, find_followed  # --help does without

    name = text or settings.recipe.name
    if follow is None:
        return find_data(settings.location, kind, name)
    return find_followed(settings.location, kind, name, follow, statistics_from)


def refuse_settings_of_a_miss(settings: Settings, *sections: str) -> None:
    """Refuse what only `--encode-on-miss` reads, where it was not given.

    Raises:
        ValueError: A key of one of these sections was set on the command line.
    """
    for key in settings.given:
        if key.partition(".")[0] in sections:
            raise ValueError(f"{key}: expected --encode-on-miss, which alone reads it; received none; leave {key} out")
