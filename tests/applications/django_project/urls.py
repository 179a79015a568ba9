"""One view, which calls tasks in a transaction."""

from django.db import transaction
from django.http import HttpResponse
from django.urls import path

from .tasks import decorated, shared, shared_by_base


def order(request, tenant):
    with transaction.atomic():
        for task in (shared, shared_by_base, decorated):
            name = task.name.rpartition(".")[2]
            task.delay_on_commit(f"{name} on commit", tenant=tenant)
            task.apply_async_on_commit((f"{name} with options",), lru_key="other")
        for task in (shared_by_base, decorated):
            task.lru_delay("third", f"{task.name.rpartition('.')[2]} at once")
        if "fail" in request.GET:
            transaction.set_rollback(True)
    return HttpResponse("ordered")


urlpatterns = [path("order/<tenant>/", order)]
