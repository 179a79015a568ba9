"""Tasks in each way that Django applications write them."""

from celery import shared_task

from celery_ranch import lru_task

from .celery import TenantTask, app


@shared_task(bind=True)
def shared(self, value, tenant=None):
    return note(self, value)


@shared_task(bind=True, base=TenantTask)
def shared_by_base(self, value, tenant=None):
    return note(self, value)


@lru_task(app, bind=True)
def decorated(self, value, tenant=None):
    return note(self, value)


def note(task, value):
    # Imported here, because only a test's process has what it needs.
    from from_environment import record

    record("ran", f"{value} for {getattr(task.request, 'lru_key', None)}")
