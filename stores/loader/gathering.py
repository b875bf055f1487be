"""Rows of some batches, gathered from where they reside into buffers, and cut into batches."""

import torch

from stores.format import GROUP_CHANNELS, SCALED, ArraySpec, Part
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
        self.specs, self.options, self.device = specs, options, device
        self._parts = regular_parts(specs)
        self._ragged = [spec for spec in specs if spec.is_ragged]
        self._is_scaled = any(spec.dtype in SCALED for spec in specs)
        self._stored = {part.name for spec in specs for part in spec.parts}
        self.buffers = BufferPools(pinned=device.type == "cuda")

    def layouts(self, group: BatchGroup) -> Layouts:
        """How the ragged arrays of a group are laid out, by name."""
        return {spec.name: self._lay_out(spec, group) for spec in self._ragged}

    def _lay_out(self, spec: ArraySpec, group: BatchGroup) -> TokenLayout:
        slots = [segment.slots for segment in group.segments]
        spans = [one.slots[span_slots(spec.name)].numpy() for one in slots]
        zeros = [len(one.values[spec.name]) - 1 for one in slots]
        options = self.options
        return lay_out(spans, zeros, group.num_batches, options.padding, spec.row_shape[0], options.pad_to_multiple_of)

    def split(self, values: Batch, group: BatchGroup, layouts: Layouts) -> list[Batch]:
        """The batches of a group, the first one last."""
        regular = {name: tensor for name, tensor in values.items() if name not in layouts}
        batches = [regular]
        if group.num_batches > 1:
            rows = len(values["row"]) // group.num_batches
            split = {name: torch.split(tensor, rows) for name, tensor in regular.items()}
            batches = [{name: parts[number] for name, parts in split.items()} for number in range(group.num_batches)]
        for name, layout in layouts.items():
            for batch, sequences in zip(batches, layout.split(name, values[name]), strict=True):
                batch |= sequences
        return batches[::-1]

    def gather(self, segments: list[Segment], layouts: Layouts) -> Batch:
        """The stored parts of some batches, still where their rows reside."""
        batch = {part.name: self._gather_part(part, segments) for part in self._parts}
        for spec in self._ragged:
            for part in spec.token_parts:
                batch[part.name] = self._gather_tokens(part, segments, layouts[spec.name])
        if len(segments) == 1:
            return batch | segments[0].columns
        columns = {name: [segment.columns[name] for segment in segments] for name in segments[0].columns}
        return batch | {name: torch.cat(parts) for name, parts in columns.items()}

    def _gather_tokens(self, part: Part, segments: list[Segment], layout: TokenLayout) -> torch.Tensor:
        """The tokens (total, ...) of some batches, in the order of the layout."""
        data, start = segments[0].slots.values[part.name], 0
        out = self._buffer(part.name, (sum(layout.sizes), *part.row_shape[1:]), data.dtype, data.device)
        flat = out.view(len(out), data.shape[1])  # (total, ...) -> (total, values of a token)
        for segment, index in zip(segments, layout.index, strict=True):
            target = flat[start : start + len(index)]
            torch.index_select(segment.slots.values[part.name], 0, index.to(data.device), out=target)
            start += len(index)
        return out

    def _gather_part(self, part: Part, segments: list[Segment]) -> torch.Tensor:
        counts = [segment.num_rows for segment in segments]
        data = segments[0].slots.values[part.name]
        count = sum(counts)
        out = self._buffer(part.name, (count, *part.row_shape), data.dtype, data.device)
        flat = out.view(count, data.shape[1])  # (B, h, w, C) -> (B, h*w*C)
        targets = [flat] if len(segments) == 1 else torch.split(flat, counts)
        for segment, target in zip(segments, targets, strict=True):
            torch.index_select(segment.slots.values[part.name], 0, segment.slots.slots[part.name], out=target)
        return out

    def finish(self, batch: Batch) -> Batch:
        """Parts to values, on the device."""
        if not self._is_scaled:
            return batch
        columns = {name: values for name, values in batch.items() if name not in self._stored}
        return {spec.name: self._decode(spec, batch) for spec in self.specs} | columns

    def _decode(self, spec: ArraySpec, batch: Batch) -> torch.Tensor:
        """The values (B, *row_shape) of an array's parts; int8 becomes float32 in one pass, int8 * scale."""
        stored = batch[spec.parts[0].name]
        if spec.dtype not in SCALED:
            return stored
        scale = batch[spec.parts[1].name].unsqueeze(-1)  # (B, h, w) -> (B, h, w, 1), of groups (B, h, w, groups, 1)
        out = self._buffer(f"{spec.name} values", tuple(stored.shape), torch.float32, self.device)
        if spec.dtype == "int8":
            return torch.mul(stored, scale, out=out)
        if spec.dtype == "float8_e4m3":
            return out.copy_(stored.view(torch.float8_e4m3fn)).mul_(scale)
        return out.copy_(stored).mul_(scale.expand(*scale.shape[:-1], GROUP_CHANNELS).flatten(-2)[..., : spec.channels])

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        return self.buffers.take(name, shape, dtype)
