"""A session: one call's work on a run directory, under its lease and with its log, until the run is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from time import monotonic
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cascade.inputs.listing import fingerprint, order_as
from cascade.runs.config import RunConfig
from cascade.runs.lease import Lease, hold_lease
from cascade.runs.log import RunLog
from cascade.runs.run import Run, find_run
from cascade.runs.tables import BatchCounts
from cascade.storage import Storage

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """
    Callbacks of a session.

    Attributes
    ----------
    on_start
        Called with the run before the first batch.
    on_batch
        Called after each committed batch.
    on_event
        Called with the name and the details of an event, such as a retry.
    """

    on_start: Callable[[Run], None] | None = None
    on_batch: Callable[[BatchCounts], None] | None = None
    on_event: Callable[..., None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """
    The run that a session creates, resumes or extends.

    Attributes
    ----------
    config
        That of a new run; with a `listing`, its fields about the inputs need not be set.
    listing
        The N inputs as they are found today, see `cascade.inputs.listing`; None: the run stores no list of them, and
        cannot be extended.
    details
        See `Run.create_or_resume`.
    fresh
        Whether to delete an earlier run.
    """

    config: RunConfig
    listing: pa.Table | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False

    def in_order_of(self, known: Run | None) -> tuple[Self, IndexArray]:
        """
        Sort the inputs into the order of a run, with those added since at the end.

        Parameters
        ----------
        known : Run or None
            The existing run; None keeps the inputs' order.

        Returns
        -------
        tuple
            The plan with a complete configuration, and the (N,) rows of its listing in that of `self`.

        Raises
        ------
        StoreError
            If an input of the run is missing.
        """
        config, listing = self.config, self.listing
        order = np.arange(config.n_exposures)
        if listing is None:
            return self, order
        inputs = fingerprint(listing)
        additions = () if known is None else known.config.additions
        if known is not None and (known.config.inputs, known.config.n_exposures) != (inputs, len(listing)):
            order = order_as(known.listing(), listing, known.storage.url)
            listing = listing.take(order)
            inputs = fingerprint(listing)
            if n_added := len(listing) - known.config.n_exposures:
                additions = (*additions, n_added)
        return replace(self, config=replace(config, inputs=inputs, additions=additions), listing=listing), order


class Session:
    """
    An active run; made by `open_session`.

    Attributes
    ----------
    run
        Where results go.
    order
        (N,) int; input k of the run is that of index ``order[k]`` in the plan's listing.
    """

    def __init__(self, run: Run, order: IndexArray, lease: Lease, log: RunLog, callbacks: Callbacks) -> None:
        self.run, self.order = run, order
        self._lease, self._log, self._callbacks = lease, log, callbacks
        self._n_pending = len(run.pending())
        self._started, self._n_done = monotonic(), 0

    @property
    def is_pending(self) -> bool:
        """Whether any batch was pending when the session began."""
        return self._n_pending > 0

    def batch_done(self, counts: BatchCounts) -> None:
        """
        Note a committed batch.

        Raises
        ------
        StoreError
            If another run has acquired the lease.
        """
        self._n_done += counts.n_exposures
        self._log.write("batch", **asdict(counts))
        if self._callbacks.on_batch is not None:
            self._callbacks.on_batch(counts)
        self._lease.check()

    def event(self, name: str, **details: object) -> None:
        """Note an event, such as a retry."""
        self._log.write(name, **details)
        if self._callbacks.on_event is not None:
            self._callbacks.on_event(name, **details)

    def _begin(self, workers: int | str) -> None:
        """Note the start, with the number of workers or the name of their scheduler."""
        n_exposures = self.run.config.n_exposures
        self._log.write("start", n_exposures=n_exposures, n_pending=self._n_pending, workers=workers)
        if self._callbacks.on_start is not None:
            self._callbacks.on_start(self.run)

    def _complete(self) -> None:
        """Note that every batch is done."""
        if self.is_pending:
            seconds = monotonic() - self._started
            session = {"n_exposures": self._n_done, "seconds": seconds, "exposures_per_s": self._n_done / seconds}
            self.run.annotate(last_session=session)
            self._log.write("complete", **session)
        elif self.run.summary().status != "complete":  # killed between its last batch and its end
            self.run.finish()


@contextmanager
def open_session(storage: Storage, plan: Plan, callbacks: Callbacks, *, workers: int | str = 1) -> Iterator[Session]:
    """
    Open a session; the lease is held before anything else is written, and the block completes the run.

    Parameters
    ----------
    storage : Storage
        The run directory, see `cascade.runs.files.check_usable`.
    plan : Plan
        The run.
    callbacks : Callbacks
        What to call.
    workers : int or str
        For the log: the number of workers, or the name of their scheduler.

    Raises
    ------
    StoreError
        If another run is active in it, or it holds a run of another configuration or of other inputs.
    """
    with hold_lease(storage) as lease, closing(RunLog(storage)) as log:
        plan, order = plan.in_order_of(None if plan.fresh else find_run(storage))
        run = Run.create_or_resume(storage, plan.config, listing=plan.listing, fresh=plan.fresh, details=plan.details)
        session = Session(run, order, lease, log, callbacks)
        session._begin(workers)
        yield session
        session._complete()
