"""An HTTP/1.1 server, built on trio_chat's public names."""

from ._errors import HTTPError as HTTPError
from ._handler import App as App, HTTPRequestHandler as HTTPRequestHandler
from ._headers import Headers as Headers, HeadersLike as HeadersLike
from ._multi import Form as Form
from ._request import Request as Request
from ._response import Response as Response
from ._serve import serve as serve
