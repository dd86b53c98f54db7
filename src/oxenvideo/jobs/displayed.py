"""How a front end shows a handle: as the package's ``display_data`` draws it, which is loaded when it is first needed."""

from __future__ import annotations

import sys
from typing import Any


class Displayed:
    """A Generation or a Batch as the last expression of a cell, without the extension."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        package: Any = sys.modules["oxenvideo"]  # not imported from here, because drawing belongs to a higher layer
        return package.display_data(self)
