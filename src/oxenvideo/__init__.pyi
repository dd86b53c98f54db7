# The public names of oxenvideo, and where each is defined. __init__.py loads them from here when they are first used.

import IPython.core.interactiveshell as _ipython

# fmt: off
from .catalog.catalog import Catalog as Catalog, Model as Model
from .catalog.pricing import Estimate as Estimate
from .client.client import Client as Client
from .client.credentials import Secret as Secret, Target as Target
from .client.responses import (
    Accepted as Accepted, HistoryPage as HistoryPage, Observation as Observation, Progress as Progress,
    Rendered as Rendered, User as User,
)
from .client.retry import Backoff as Backoff
from .engine.film import Film as Film
from .engine.history import HistoryRow as HistoryRow
from .engine.resume import Resumed as Resumed
from .errors import (
    AuthenticationFailed as AuthenticationFailed, BadRequest as BadRequest, ConfigurationError as ConfigurationError,
    ConnectionFailed as ConnectionFailed, CostLimitExceeded as CostLimitExceeded, DownloadFailed as DownloadFailed,
    GenerationCancelled as GenerationCancelled, GenerationEnded as GenerationEnded,
    GenerationFailed as GenerationFailed, InsufficientCredits as InsufficientCredits,
    InvalidRequest as InvalidRequest, NotFound as NotFound, OutcomeUnknown as OutcomeUnknown,
    OxenVideoError as OxenVideoError, RateLimited as RateLimited, ServiceError as ServiceError,
    ServiceUnavailable as ServiceUnavailable, UnexpectedAnswer as UnexpectedAnswer, UnknownModel as UnknownModel,
    WaitTimeout as WaitTimeout
)
from .jobs.batch import Batch as Batch
from .jobs.generation import Cancellation as Cancellation, Generation as Generation
from .jobs.status import State as State, Status as Status
from .media.media import Media as Media
from .notebook.display_data import display_data as display_data
from .notebook.panel.panel import Panel as Panel, panel as panel
from .request.build import Built as Built
from .request.request import Joined as Joined, VideoRequest as VideoRequest, recall as recall
from .session import (
    Session as Session, attach as attach, configure as configure, current_session as current_session,
    generate as generate, history as history, join as join, models as models, resume as resume, submit as submit,
    submit_batch as submit_batch
)
from .settings import Limits as Limits, Pace as Pace, Settings as Settings
# fmt: on

__version__: str
__all__: list[str]

def load_ipython_extension(shell: _ipython.InteractiveShell) -> None: ...
def unload_ipython_extension(shell: _ipython.InteractiveShell) -> None: ...
