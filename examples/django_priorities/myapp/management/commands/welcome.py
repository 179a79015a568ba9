"""Welcome users, by queues for high, medium and low priority."""

from django.core.management.base import BaseCommand

from myapp.tasks import generate_report, send_email, send_otp


class Command(BaseCommand):
    help = "Order a report, then an e-mail and a one-time password for each of two users."

    def handle(self, **options):
        generate_report.apply_async(queue="low_priority")
        for user_id in (1, 2):
            send_email.apply_async(args=[user_id, "Welcome", "Hello!"], queue="medium_priority")
            send_otp.apply_async(args=[user_id], queue="high_priority")
