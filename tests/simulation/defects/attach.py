"""Attaching as it once was."""

from __future__ import annotations

from oxenvideo.jobs.journal import Journal, Plan


def two_transactions() -> None:
    """The row is planned, as for a submit; a kernel that dies before the id is written leaves one that resume sends."""

    def attach(self: Journal, plan: Plan, generation_id: str) -> None:
        self.plan([plan])
        self.accept(plan.key, [(plan.jobs[0][0], generation_id)], told=False)

    Journal.attach = attach  # type: ignore[method-assign]
