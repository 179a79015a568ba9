"""Ask the view for an order, once in vain, and call a task from here too."""

from django.core.management.base import BaseCommand
from django.test import Client

from django_project.tasks import decorated


class Command(BaseCommand):
    def handle(self, *args, **options):
        for query in ("", "?fail=1"):
            assert Client().get(f"/order/acme/{query}").status_code == 200
        decorated.lru_delay("operator", "by a command")
