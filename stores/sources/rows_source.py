"""A source of rows: Parquet files, and the Arrow files of Hugging Face's `save_to_disk`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain, islice
from pathlib import Path

from stores.sources.base import MAX_IMAGE_BYTES, Listing, Progress, Source
from stores.sources.fields.file_splits import splits_of_files
from stores.sources.fields.labels import RawLabel
from stores.sources.fields.problems import Problems
from stores.sources.fields.several_labels import are_lists_of_labels, only_label
from stores.sources.fields.splits import TEST
from stores.sources.folders.keys import columns_of_path
from stores.sources.items import SourceItem
from stores.sources.layouts.listing import label_ids, label_warnings, require_images, settle_test
from stores.sources.listing_cache import ListingCache
from stores.sources.options import SourceOptions
from stores.sources.paths import ROWS_SUFFIXES, DamagedArchiveError, SourceError, strip_suffix
from stores.sources.readers.arrow import ArrowReader
from stores.sources.readers.card import CARDS, card_features
from stores.sources.readers.folder import check_size, read_named
from stores.sources.readers.parquet import DAMAGE, ParquetReader, RowFile, unreadable
from stores.sources.readers.schema import class_names_of
from stores.sources.summary import DataSummary, FileKind, TableUse, summarize_rows
from stores.sources.tables.columns import LABEL_TEXT_NAMES, plain, roles_of, split_column
from stores.sources.tables.row_columns import (
    FileRow,
    column_warnings,
    columns_in,
    configuration_warnings,
    name_warnings,
    refuse_images,
    row_fields,
    without_images,
)
from stores.sources.tables.split_values import NoSplits, no_splits
from stores.sources.tables.table import SAMPLE


@dataclass(frozen=True)
class RowsSource(Source):
    """The Parquet or Arrow files `names` below `root`: a column of image bytes, and those of label, caption and split.

    Attributes:
        root: the folder that all paths are below.
        kind: "parquet" or "arrow".
        names: the files.
        alone: one file that was named itself, so that keys need no name of it before them.
        options: what the user says about the layout.
        unused: other files of the folder, by kind.
        cache: folder that keeps the listing of files that have not changed.
        declared: the split that the card of the data set gives to files.
    """

    root: str
    kind: str
    names: tuple[str, ...]
    alone: bool = False
    options: SourceOptions = field(default_factory=SourceOptions)
    unused: tuple[FileKind, ...] = ()
    cache: str | None = None
    declared: tuple[tuple[str, str], ...] = ()
    _reader: ParquetReader | ArrowReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reader = ParquetReader if self.kind == "parquet" else ArrowReader
        object.__setattr__(self, "_reader", reader(self.root, self.options.file_column, self.options.follow_links))

    def __reduce__(self) -> tuple[object, ...]:
        return RowsSource, tuple(getattr(self, one.name) for one in fields(self) if one.init)

    @property
    def location(self) -> str:
        return f"{self.root}/{self.names[0]}" if self.alone else self.root

    def container(self, source: str) -> Path:
        return self._reader.path(source)

    def read(self, source: str, offset: int, num_bytes: int) -> bytes:
        where = f"{self.root}/{source}, row {offset}"
        try:
            value = self._reader.image(source, offset)
        except DAMAGE as error:
            raise unreadable(self._reader.path(source), error) from error
        path = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None and isinstance(path, str):
            data = read_named(self.options.image_root or self.root, path, where, self.options.follow_links)
        if not isinstance(data, bytes):
            column = self._reader.files.get(source).image.name
            raise SourceError(f"{where}: expected the image's bytes in column {column!r}; received null")
        if len(data) > MAX_IMAGE_BYTES:
            # What a decoder needs comes first; a longer value would only fill the memory.
            raise SourceError(f"{where}: expected at most {MAX_IMAGE_BYTES} bytes; received {len(data)}")
        return check_size(data, num_bytes, where)

    def num_rows(self) -> int:
        """The rows of all files that can be read."""
        return sum(file.num_rows for file in self._files(Problems()).values())

    def list_items(self, progress: Progress | None = None) -> Listing:
        name: list[object] = [self.kind, os.path.realpath(self.root), self.names, self.alone, self.unused]
        card = Path(self.root, CARDS[0])
        files = [Path(self.root, one) for one in self.names] + ([card] if card.is_file() else [])
        cache = ListingCache(self.cache, name, self.options, files) if self.cache else None
        listing = cache.load() if cache else None
        if listing is None:
            problems = Problems()
            listing = self._list(self._files(problems), problems, progress)
            if cache:
                cache.save(listing)
        return listing

    def _files(self, problems: Problems) -> dict[str, RowFile]:
        """The files that can be read, without their footers; the others are counted.

        Raises:
            SourceError: none of them can be read.
        """
        files, first = dict[str, RowFile](), None
        for name in self.names:
            try:
                file = self._reader.files.get(name).without_footer()
            except DamagedArchiveError as error:
                first = first or error
                problems.add("damaged file: its rows are left out", str(error))
            else:
                shared = next(iter(files.values()), file).features
                files[name] = replace(file, features=shared) if file.features == shared else file
        if not files and first is not None:
            raise first
        return files

    def _list(self, files: dict[str, RowFile], problems: Problems, progress: Progress | None) -> Listing:
        rows = list(self._rows(files, problems, progress))
        require_images(rows, self.location, f"no row in {len(files)} {self.kind} files")
        unsplit = self._read_splits(files, rows, problems)
        problems.check()
        raw = [row.label for row in rows]
        ids, names = label_ids(raw, self._class_names(files, raw), self.options, self.location, problems)
        test = settle_test((row.label is not None or bool(row.item.caption), row.split) for row in rows)
        items = [
            replace(row.item, label=label, split=test if row.split == TEST else row.split)
            for row, label in zip(rows, ids, strict=True)
        ]
        return Listing(items, names, self._summary(files, items, names, problems, unsplit))

    def _read_splits(self, files: dict[str, RowFile], rows: list[FileRow], problems: Problems) -> NoSplits | None:
        """Give each row the split that its column has, or return why the column has none."""
        name, first = next(iter(files.items()))
        asks_of = split_column(columns_in(name, first.columns))[1] if self.options.split_column is None else None
        column = next(iter(self._roles(name, first).get("split", ())), None)
        guessed = column is not None and self.options.split_column is None and asks_of is None
        unsplit = no_splits(column or "", (row.split_value for row in rows)) if guessed else None
        for row in rows if unsplit is None else ():
            row.read_split(self.root, asks_of, problems)
        return unsplit

    def _rows(self, files: dict[str, RowFile], problems: Problems, progress: Progress | None) -> Iterator[FileRow]:
        splits = splits_of_files(self.names) | dict(self.declared)
        for number, (name, file) in enumerate(files.items(), start=1):
            prefix = "" if self.alone else f"{strip_suffix(name, ROWS_SUFFIXES)}/"
            roles = self._roles(name, file)
            records = self._records(name, file, roles, problems)
            first = list(islice(records, SAMPLE))
            refuse_images(roles.get("label", []), first, f"{self.root}/{name}")
            labels = [record.get(column) for column in roles.get("label", ()) for record in first]
            in_lists = are_lists_of_labels(labels)
            for row, record in enumerate(chain(first, records)):
                where = f"{self.root}/{name}, row {row}"
                values = {role: [record.get(column) for column in found] for role, found in roles.items()}
                if in_lists:
                    values["label"] = [only_label(values["label"][0], where, problems)]
                item, label = row_fields(values, where, problems)
                item = replace(item, key=f"{prefix}{row:08d}", source=name, offset=row)
                yield FileRow(item, label, next(iter(values.get("split", ())), None), splits[name])
            if progress is not None:
                progress(number, len(files))

    def _records(
        self, name: str, file: RowFile, roles: dict[str, list[str]], problems: Problems
    ) -> Iterator[dict[str, object]]:
        """The fields of a file's rows, from damage on those of its folders: the images of these rows may be whole."""
        of_path, done = columns_of_path(name), 0
        columns = {column: None for found in roles.values() for column in found if column in file.columns}
        try:
            for record in self._reader.records(name, list(columns)):
                yield of_path | record
                done += 1
        except DamagedArchiveError as error:
            for _ in range(done, file.num_rows):
                problems.add("row whose fields cannot be read: it has none", str(error))
                yield dict(of_path)

    def _roles(self, name: str, file: RowFile) -> dict[str, list[str]]:
        """The roles of a file's columns; those of images, such as masks called "label", have none."""
        kept = (file.image.name, self.options.label_column)
        columns = without_images(columns_in(name, file.columns), file.features, kept)
        return roles_of(columns, self.options, f"{self.root}/{name}", file.image.name)

    def _class_names(self, files: dict[str, RowFile], raw: Sequence[RawLabel]) -> list[str] | None:
        """The names of a Hugging Face ClassLabel, in the files or their card, or of a column beside the labels.

        Raises:
            SourceError: files that name their classes differently.
        """
        named = {name: self._declared(name, file) for name, file in files.items()}
        first_name = next(iter(files))
        first = named[first_name]
        other = next((name for name, names in named.items() if names != first), None)
        if other is not None:
            raise SourceError(
                f"{self.root}: expected one list of class names; received another in {other} than in {first_name}; "
                "read them apart"
            )
        return first or self._names_of_card(files, raw) or self._names_beside(files)

    def _declared(self, name: str, file: RowFile) -> list[str] | None:
        columns = self._roles(name, file).get("label")
        return class_names_of(file.features, columns[0] if columns else None)

    def _names_of_card(self, files: dict[str, RowFile], raw: Sequence[RawLabel]) -> list[str] | None:
        """The names that the card of a data set of the Hub declares, where each id has one.

        The card lies beside the files, above their folder `data`, or in the folder of a part.
        """
        above = os.path.dirname(os.path.realpath(self.root)) if os.path.basename(self.root) == "data" else self.root
        first, file = next(iter(files.items()))
        folders = (self.root, above, os.path.join(self.root, os.path.dirname(first)))
        features = next((found for folder in folders if (found := card_features(folder))), {})
        columns = self._roles(first, file).get("label")
        names = class_names_of(features, columns[0] if columns else None)
        largest = max((int(str(label)) for label in raw if str(label).isdecimal()), default=-1)
        return names if names and largest < len(names) else None

    def _names_beside(self, files: dict[str, RowFile]) -> list[str] | None:
        """Names in a column beside integer labels, where each id has one."""
        pairs: set[tuple[int, str]] = set()
        for name, file in files.items():
            label = (self._roles(name, file).get("label") or [""])[0]
            text = next(
                (column for column in file.columns if plain(column) in LABEL_TEXT_NAMES and column != label), None
            )
            if label not in file.columns or text is None:
                return None
            for record in self._reader.records(name, [label, text]):
                number, named = record[label], record[text]
                if isinstance(number, int) and number >= 0:
                    if not isinstance(named, str):
                        return None
                    pairs.add((number, named))
        names = dict(pairs)
        complete = sorted(names) == list(range(len(names))) and len(names) == len(pairs)
        return [names[number] for number in sorted(names)] if complete and names else None

    def _summary(
        self,
        files: dict[str, RowFile],
        items: list[SourceItem],
        names: list[str] | None,
        problems: Problems,
        unsplit: NoSplits | None,
    ) -> DataSummary:
        name, first = next(iter(files.items()))
        roles = {"image": [first.image.name], **self._roles(name, first)}
        if unsplit is not None:
            del roles["split"]
        use = TableUse(name, columns_in(name, first.columns), roles, len(items), len(items))
        empty = DataSummary(
            path=self.location,
            container=self.kind,
            layout=self.kind,
            description=f"rows of {self.kind.capitalize()} files",
            containers=len(files),
            tables=[use],
            unused=list(self.unused),
            unused_files=sum(kind.count for kind in self.unused),
            problems=problems.to_list(),
        )
        summary = summarize_rows(empty, items, names)
        warnings = [*column_warnings(use), *name_warnings(list(files), summary), *label_warnings(summary)]
        warnings += configuration_warnings(list(files), self.unused, self.root)
        said = [unsplit.warning(name)] if unsplit is not None and unsplit.reason else []
        return replace(summary, warnings=[*said, *warnings])
