"""How a front end shows a handle: as the package's ``display_data`` draws it, which is loaded when it is first needed."""

from __future__ import annotations

from typing import Any


class Displayed:
    """A Generation or a Batch as the last expression of a cell, without the extension."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        import oxenvideo

        item: Any = self
        return oxenvideo.display_data(item)
