"""Rows of some batches, gathered from where they reside into buffers, and cut into batches."""

import torch

from stores.format import GROUP_CHANNELS, SCALED, ArraySpec
from stores.loader.options import LoaderOptions
from stores.loader.ragged import TokenLayout, lay_out
from stores.loader.row_sources import regular_parts, span_slots
from stores.loader.transfer import Batch, BufferPools
from stores.loader.windows import BatchGroup, Segment

Layouts = dict[str, TokenLayout]


class BatchGatherer:
    """Gathers groups of batches into buffers that are used again.

    Args:
        specs: the arrays to deliver.
        options: how sequences are padded.
        device: where batches are delivered.
    """

    def __init__(self, specs: list[ArraySpec], options: LoaderOptions, device: torch.device) -> None:
        self.specs, self.options = specs, options
        self._regular = regular_parts(specs)
        self._ragged = [spec for spec in specs if spec.is_ragged]
        self._is_scaled = any(spec.dtype in SCALED for spec in specs)
        self._stored = {part.name for spec in specs for part in spec.parts}
        self.buffers = BufferPools(pinned=device.type == "cuda")

    def layouts(self, group: BatchGroup) -> Layouts:
        """How the ragged arrays of a group are laid out, by name."""
        return {spec.name: self._lay_out(spec, group) for spec in self._ragged} if self._ragged else {}

    def _lay_out(self, spec: ArraySpec, group: BatchGroup) -> TokenLayout:
        slots = [segment.slots for segment in group.segments]
        spans = [one.slots[span_slots(spec.name)].numpy() for one in slots]
        zeros = [len(one.values[spec.name]) - 1 for one in slots]
        options = self.options
        return lay_out(spans, zeros, group.num_batches, options.padding, spec.row_shape[0], options.pad_to_multiple_of)

    def cut(self, stored: Batch, group: BatchGroup, layouts: Layouts) -> list[Batch]:
        """The batches of a group out of its stored parts, on the device, the first one last."""
        values = self.finish(stored) if self._is_scaled else stored
        if group.num_batches == 1 and not layouts:
            return [values]
        sequences = {name: layout.split(name, values.pop(name)) for name, layout in layouts.items()}
        rows = len(values["row"]) // group.num_batches
        split = {name: torch.split(tensor, rows) for name, tensor in values.items()}
        batches = [{name: parts[number] for name, parts in split.items()} for number in range(group.num_batches)]
        for parts in sequences.values():
            for batch, part in zip(batches, parts, strict=True):
                batch |= part
        return batches[::-1]

    def gather(self, group: BatchGroup, layouts: Layouts) -> Batch:
        """The stored parts of some batches, still where their rows reside."""
        segments = group.segments
        if len(segments) > 1 or layouts:
            return self._join(segments, layouts)
        num_rows, columns, (values, slots) = segments[0]
        batch = dict(columns)
        for part in self._regular:
            name = part.name
            stored = values[name]
            out = self._buffer(name, (num_rows, *part.row_shape), stored.dtype, stored.device)
            batch[name] = torch.index_select(stored, 0, slots[name], out=out)
        return batch

    def _join(self, segments: list[Segment], layouts: Layouts) -> Batch:
        """The same of several segments, or of tokens."""
        batch = {name: torch.cat([one.columns[name] for one in segments]) for name in segments[0].columns}
        for part in self._regular:
            batch[part.name] = self._gather(part.name, segments, [one.slots.slots[part.name] for one in segments])
        for spec in self._ragged:
            for part in spec.token_parts:
                index = [some.to(segments[0].slots.values[part.name].device) for some in layouts[spec.name].index]
                batch[part.name] = self._gather(part.name, segments, index)
        return batch

    def _gather(self, name: str, segments: list[Segment], index: list[torch.Tensor]) -> torch.Tensor:
        """The rows, or tokens, of a part at these places in each segment's memory, one after the other."""
        values, counts = segments[0].slots.values[name], [len(places) for places in index]
        out = self._buffer(name, (sum(counts), *values.shape[1:]), values.dtype, values.device)
        for segment, places, target in zip(segments, index, torch.split(out, counts), strict=True):
            torch.index_select(segment.slots.values[name], 0, places, out=target)
        return out

    def finish(self, batch: Batch) -> Batch:
        """Parts to values, on the device."""
        columns = {name: values for name, values in batch.items() if name not in self._stored}
        return {spec.name: self._decode(spec, batch) for spec in self.specs} | columns

    def _decode(self, spec: ArraySpec, batch: Batch) -> torch.Tensor:
        """The values (B, *row_shape) of an array's parts; 8 bits become float32, int8 in one pass, int8 * scale."""
        stored = batch[spec.parts[0].name]
        if spec.dtype not in SCALED:
            return stored
        scale = batch[spec.parts[1].name].unsqueeze(-1)  # (B, h, w) -> (B, h, w, 1), of groups (B, h, w, groups, 1)
        out = self._buffer(f"{spec.name} values", tuple(stored.shape), torch.float32, stored.device)
        if spec.dtype == "int8":
            return torch.mul(stored, scale, out=out)
        if spec.dtype == "float8_e4m3":
            return out.copy_(stored.view(torch.float8_e4m3fn)).mul_(scale)
        return out.copy_(stored).mul_(scale.expand(*scale.shape[:-1], GROUP_CHANNELS).flatten(-2)[..., : spec.channels])

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if device.type == "cpu":
            return self.buffers[name].take(shape, dtype)
        return torch.empty(shape, dtype=dtype, device=device)
