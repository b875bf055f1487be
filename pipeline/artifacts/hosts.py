"""On which hosts a store or a model was made, as its record says: the rows and rates of each, and the slowest."""

from collections import Counter
from typing import Any

from jobs.runs import RunFolder
from pipeline.console import format_number
from stores.format import Manifest


def hosts_of_store(manifest: Manifest) -> list[dict[str, Any]]:
    """`host`, `rows`, `rows_per_second` (None where it is not known) and `slowest`; [] where one host made it.

    They are of the command that finished the store: what an earlier one had done counts for nobody.
    """
    found = manifest.attributes.get("hosts")
    known = {host: one for host, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}
    rates = {host: rate for host, one in known.items() if isinstance(rate := one.get("rows_per_second"), int | float)}
    slowest = min(sorted(rates), key=lambda host: rates[host]) if len(rates) > 1 else None
    return [
        {"host": host, "rows": one.get("rows"), "rows_per_second": rates.get(host), "slowest": host == slowest}
        for host, one in known.items()
    ]


def hosts_of_run(run: RunFolder) -> list[dict[str, Any]]:
    """`host` and its `workers` of the group that finished a training; [] where one host trained."""
    return [{"host": host, "workers": count} for host, count in sorted(Counter(run.record.hosts).items())]


def hosts_text(hosts: list[dict[str, Any]]) -> str:
    """`h1: 30 rows, 3.20/s; h2: 10 rows, 1.10/s, slowest`, or `h1: 2 workers; h2: 2 workers`."""
    return "; ".join(f"{one['host']}: {', '.join(_parts(one))}" for one in hosts)


def _parts(one: dict[str, Any]) -> list[str]:
    if "workers" in one:
        return [f"{one['workers']} worker{'s' if one['workers'] > 1 else ''}"]
    rate = [] if one["rows_per_second"] is None else [f"{format_number(one['rows_per_second'])}/s"]
    return [f"{one['rows']} rows", *rate, *(["slowest"] if one["slowest"] else [])]
