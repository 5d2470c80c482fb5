"""A strict Content-Security-Policy, for tests that look at pages under one."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class StrictContentSecurityPolicy:
    """Middleware: nothing inline, and nothing from elsewhere."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response
