"""Django: a log of requests in memory, and nobody who empties it."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a test",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
entries: list[dict[str, str]] = []


def leak(request: HttpRequest) -> HttpResponse:
    entries.append(dict(request.headers))  # the leak
    return HttpResponse("fine")


def mended(request: HttpRequest) -> HttpResponse:
    entries[:] = [dict(request.headers)]
    return HttpResponse("fine")


urlpatterns = [path("leak", leak), path("mended", mended)]
application = get_wsgi_application()
