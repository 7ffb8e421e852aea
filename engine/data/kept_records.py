"""Records that stay on a device: --cache device."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.core.value import Value
from caffepy.engine.data.db import Database
from caffepy.engine.data.device_feed import DeviceFeed
from caffepy.engine.data.pipeline import Whole, Work
from caffepy.engine.data.records import Names, RecordBatch, RecordSource

SHARE = 0.25  # of the memory that is free, at most: what the net takes of it comes later
PART_BYTES = 1 << 26  # that are copied to the device at a time
LOG_EVERY = 10_000  # records


class KeptRecords(RecordSource):
    """Makes batches of records as RecordSource does, but of images that the device keeps: it is
    sent their numbers only. Labels and keys stay on the host.

    The database is read once, before the first batch. Where its records differ in shape, are no
    bytes or too many, a warning says so, and they are read batch by batch.
    """

    def __init__(
        self, database: Database, feed: DeviceFeed, skip: int = 0, color: bool | None = None
    ) -> None:
        super().__init__(database, feed, skip, color)
        self._device_feed = feed
        self._places: _Places | None = None
        self._labels = np.empty(0, feed.transformer.dtype)
        self._tried = False

    def begin(self, first: int, count: int) -> Work[RecordBatch]:
        if not self._tried:
            self._tried = True
            try:
                reason = self._keep()
            except (DataError, DeviceError) as error:  # told again when it is in the way
                reason = str(error)
            if reason is not None:
                log.warning(
                    f"{self.transformer.where}: --cache device: its records are read from "
                    f"'{self.database.path}' batch by batch: {reason}"
                )
        if self._places is None:
            return super().begin(first, count)
        self._go_to(first)
        return Whole(lambda: self._chosen(first, count))

    def _chosen(self, first: int, count: int) -> RecordBatch:
        """The batch of the records from the cursor on."""
        assert self._places is not None, "records are kept first"
        numbers = self._places.read(count)
        images = self._device_feed.chosen(numbers, first)
        keys = self._places.keys
        names = Names(self, [keys[number] for number in numbers.tolist()])
        self.reached(first + count)
        return RecordBatch(images, self._labels[numbers], names, names.keys[-1])

    def _keep(self) -> str | None:
        """Brings all records to the device; or why they are not kept."""
        device, count = self._device_feed.device, self.database.count
        *_, first = self.read(*next(self.database.records()))
        size, (free, _) = count * first.nbytes, device.memory()
        if first.dtype != np.uint8:
            return "they hold floats, not bytes."
        if self.transformer.augmentation is not None:
            return "transform_param asks for changes that are made on the host."
        if size > SHARE * free:
            return (
                f"expected at most {_mib(SHARE * free)}, {SHARE:.0%} of what is free on the "
                f"device, got {_mib(size)} for {count} records."
            )
        log.info(f"Keeping {count} records on the device, {_mib(size)}")
        kept = Value((count, *first.shape), np.uint8)
        memory = kept.write(device.layout)
        part = np.empty((max(1, PART_BYTES // first.nbytes), *first.shape), np.uint8)
        labels, keys, copied = np.empty(count, self._labels.dtype), list[bytes](), 0
        for index, (key, content) in zip(range(count), self.database.records(), strict=False):
            name, labels[index], image = self.read(key, content)
            if (image.shape, image.dtype) != (first.shape, first.dtype):
                return f"{name} is {image.dtype} {image.shape}, those before uint8 {first.shape}."
            keys.append(key)
            part[index - copied] = image
            done = index + 1
            if done - copied == len(part) or done == count:
                sent = part[: done - copied].reshape(-1)
                device.upload(sent, memory[copied * first.size : done * first.size])
                copied = done
            if done % LOG_EVERY == 0 and done < count:
                log.info(f"Kept {done} records.")
        self._device_feed.kept, self._labels = kept, labels
        self._cursor = self._places = _Places(keys)
        return None


class _Places:
    """A Cursor over the numbers of records."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self._next = 0

    def read(self, count: int) -> np.ndarray:
        """(count,) int64: the numbers of the next records."""
        numbers = (self._next + np.arange(count)) % len(self.keys)
        self._next = (self._next + count) % len(self.keys)
        return numbers

    def seek(self, position: int) -> None:
        self._next = position % len(self.keys)

    def seek_after(self, key: bytes) -> bool:
        place = bisect_left(self.keys, key)
        self._next = (place + 1) % len(self.keys)
        return place < len(self.keys) and self.keys[place] == key


def _mib(nbytes: float) -> str:
    return f"{nbytes / (1 << 20):.1f} MiB"
