"""What the layers share that give images with labels, made ahead in threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from caffepy.engine.core import log
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.random import Stream
from caffepy.engine.data.device_feed import make_feed
from caffepy.engine.data.feed import Feed
from caffepy.engine.data.pipeline import Batch, Prefetcher, Source
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.machine import allowed_cpus
from caffepy.proto.caffe_pb2 import TransformationParameter

MOST_THREADS = 16  # of a layer, where nobody says how many

B = TypeVar("B", bound=Batch)


class PrefetchingDataLayer(Layer, Generic[B]):
    """Batches of a source: top[0] (batch_size, C, H, W) images, top[1] (batch_size,) labels.

    A subclass makes its source in `setup`, and ends that with `start`.
    data_param.prefetch: 4 batches made ahead, in every layer of this kind
    """

    bottoms = 0
    tops: ClassVar[int | tuple[int, int | None]] = (1, 2)
    records = False

    def make_feed(self, param: TransformationParameter | None = None) -> Feed:
        """The images' way into the net, with what transform_param asks for, or another one. Its
        choices are a function of the samples' numbers."""
        transformer = Transformer(
            self.param.transform_param if param is None else param,
            testing=self.testing,
            stream=self.sample_stream("transform"),
            dtype=self.ops.dtype,
            where=self.where,
            find_file=self.find_file,
        )
        self._feed = make_feed(transformer, self.ops)
        return self._feed

    def sample_stream(self, purpose: str) -> Stream:
        """Random numbers without the rank: samples are numbered over all ranks."""
        return Stream(self.context.seed, self.key, purpose)

    def random_skip(self, rand_skip: int) -> int:
        """How many samples are left out at the start: less than rand_skip, none for 0."""
        if not rand_skip:
            return 0
        skip = int(self.sample_stream("rand_skip").integers(0, 1, rand_skip)[0])
        log.info(f"Skipping first {skip} data points.")
        return skip

    def check_batch_size(self, block: str) -> None:
        """Raises: NetError where the batch_size of the parameter block of this name is 0."""
        if getattr(self.param, block).batch_size == 0:
            self.error(f"{block}.batch_size: expected at least 1, got 0. Set it.")

    def start(self, top: Blobs, source: Source[B], batch_size: int, shape: tuple[int, ...]) -> None:
        """Shapes the tops for images of `shape` (C, H, W); the first batch is made when asked
        for."""
        top[0].reshape((batch_size, *shape))
        log.info(f"output data size: {','.join(map(str, top[0].shape))}")
        if len(top) > 1:
            top[1].reshape((batch_size,))
        self.batches_ahead = max(1, self.param.data_param.prefetch)
        self._names: Sequence[str] = ()
        self._batches: Prefetcher[B] = Prefetcher(
            source, batch_size, self.param.data_param.prefetch, self._threads()
        )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._batches.closed:
            self.error("expected a net that is open, got one that was closed. Open it again.")
        batch = self._batches.next()
        self.note(batch)
        top[0].reshape(batch.images.shape)
        self._feed.deliver(batch.images, top[0].data)
        if len(top) > 1:
            top[1].reshape(batch.labels.shape)
            top[1].data.write()[...] = batch.labels
        coming = self._batches.coming() if self._feed.ahead else None
        if coming is not None:
            self._feed.send(coming.images)

    def _threads(self) -> int:
        """How many threads make batches. Where a CPU computes, they share it with the net: more of
        them make no more batches, but hold up its own threads, which wait for each other."""
        if self.context.data_threads is not None:
            return self.context.data_threads
        cpus = allowed_cpus()
        return max(1, cpus // 4) if self.ops.device is None else min(cpus, MOST_THREADS)

    def note(self, batch: B) -> None:
        """Keeps what is asked of the batch in use besides its images."""
        self._names = batch.names

    def describe_sample(self, top_index: int, index: int) -> str:
        return self._names[index]

    def state(self) -> dict[str, Any]:
        return {"sample": self._batches.position}

    def restore(self, state: dict[str, Any]) -> None:
        self._batches.seek(state["sample"])

    def close(self) -> None:
        if hasattr(self, "_batches"):  # setup came that far
            self._batches.close()
            self._feed.close()
