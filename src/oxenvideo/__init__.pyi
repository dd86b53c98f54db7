# The public names of oxenvideo, and where each is defined. __init__.py loads them from here when they are first used.

import IPython.core.interactiveshell as _ipython

from .api import (
    attach as attach,
)
from .api import (
    configure as configure,
)
from .api import (
    current_session as current_session,
)
from .api import (
    generate as generate,
)
from .api import (
    history as history,
)
from .api import (
    models as models,
)
from .api import (
    panel as panel,
)
from .api import (
    resume as resume,
)
from .api import (
    submit as submit,
)
from .api import (
    submit_batch as submit_batch,
)
from .catalog.catalog import (
    Catalog as Catalog,
)
from .catalog.catalog import (
    Model as Model,
)
from .catalog.pricing import Estimate as Estimate
from .client.client import Client as Client
from .client.responses import (
    Accepted as Accepted,
)
from .client.responses import (
    HistoryPage as HistoryPage,
)
from .client.responses import (
    Observation as Observation,
)
from .client.responses import (
    Rendered as Rendered,
)
from .client.responses import (
    User as User,
)
from .credentials import (
    Secret as Secret,
)
from .credentials import (
    Target as Target,
)
from .engine.resume import (
    HistoryRow as HistoryRow,
)
from .engine.resume import (
    Resumed as Resumed,
)
from .errors import (
    AuthenticationFailed as AuthenticationFailed,
)
from .errors import (
    BadRequest as BadRequest,
)
from .errors import (
    ConfigurationError as ConfigurationError,
)
from .errors import (
    ConnectionFailed as ConnectionFailed,
)
from .errors import (
    CostLimitExceeded as CostLimitExceeded,
)
from .errors import (
    DownloadFailed as DownloadFailed,
)
from .errors import (
    GenerationCancelled as GenerationCancelled,
)
from .errors import (
    GenerationEnded as GenerationEnded,
)
from .errors import (
    GenerationFailed as GenerationFailed,
)
from .errors import (
    InsufficientCredits as InsufficientCredits,
)
from .errors import (
    InvalidRequest as InvalidRequest,
)
from .errors import (
    NotFound as NotFound,
)
from .errors import (
    OutcomeUnknown as OutcomeUnknown,
)
from .errors import (
    OxenVideoError as OxenVideoError,
)
from .errors import (
    RateLimited as RateLimited,
)
from .errors import (
    ServiceError as ServiceError,
)
from .errors import (
    ServiceUnavailable as ServiceUnavailable,
)
from .errors import (
    UnexpectedAnswer as UnexpectedAnswer,
)
from .errors import (
    UnknownModel as UnknownModel,
)
from .errors import (
    WaitTimeout as WaitTimeout,
)
from .jobs.batch import Batch as Batch
from .jobs.generation import (
    Cancellation as Cancellation,
)
from .jobs.generation import (
    Generation as Generation,
)
from .jobs.status import (
    State as State,
)
from .jobs.status import (
    Status as Status,
)
from .media.media import Media as Media
from .notebook.panel import Panel as Panel
from .pace import Pace as Pace
from .request.build import Built as Built
from .request.request import (
    VideoRequest as VideoRequest,
)
from .request.request import (
    recall as recall,
)
from .retry import Backoff as Backoff
from .session import (
    Session as Session,
)
from .session import (
    Settings as Settings,
)
from .settings import Limits as Limits

__version__: str
__all__: list[str]

def load_ipython_extension(shell: _ipython.InteractiveShell) -> None: ...
def unload_ipython_extension(shell: _ipython.InteractiveShell) -> None: ...
