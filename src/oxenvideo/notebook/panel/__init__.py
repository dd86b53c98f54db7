"""The panel: a form, the running jobs and a gallery in the notebook. Nothing here is imported before it is shown."""

from oxenvideo.notebook.panel.panel import Panel

__all__ = ["Panel"]
