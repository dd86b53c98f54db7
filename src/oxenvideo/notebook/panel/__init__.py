"""The panel: make, watch and compare videos without writing code."""

from oxenvideo.notebook.panel.panel import Panel

__all__ = ["Panel"]
