"""An HTTP/1.1 server, built on trio_chat's public names."""

from ._access_log import AccessEntry as AccessEntry
from ._errors import ClientDisconnected as ClientDisconnected, HTTPError as HTTPError
from ._events import EventSourceResponse as EventSourceResponse, ServerSentEvent as ServerSentEvent
from ._files import FileResponse as FileResponse
from ._form_reader import FormLimits as FormLimits
from ._forms import Form as Form, FormFile as FormFile
from ._handler import App as App, HTTPRequestHandler as HTTPRequestHandler
from ._headers import Headers as Headers, HeadersLike as HeadersLike
from ._reader import BodyStream as BodyStream
from ._request import Request as Request
from ._response import JSONResponse as JSONResponse, RedirectResponse as RedirectResponse, Response as Response
from ._serve import serve as serve
