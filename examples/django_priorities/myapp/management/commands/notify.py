"""Notify users, by numeric priorities."""

from django.core.management.base import BaseCommand

from myapp.tasks import send_notification


class Command(BaseCommand):
    help = "Send the weekly update, and then what cannot wait."

    def handle(self, **options):
        update, reset = "Your weekly update is here!", "Reset your password immediately!"
        send_notification.apply_async(args=[1, update], priority=5)
        send_notification.apply_async(args=[1, "Your invoice"], priority=5)
        send_notification.apply_async(args=[2, update], priority=5)
        send_notification.apply_async(args=[2, reset], priority=0)
