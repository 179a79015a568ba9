"""The tasks. Each says what it did; what your project does stands in yours."""

from celery import shared_task


@shared_task(name="myapp.tasks.send_notification")
def send_notification(user_id, message):
    print(f"To user {user_id}: {message}")


@shared_task(name="myapp.tasks.send_otp")
def send_otp(user_id):
    print(f"OTP sent to user {user_id}")


@shared_task(name="myapp.tasks.send_email")
def send_email(user_id, subject, body):
    print(f"Email sent to user {user_id}: {subject}")


@shared_task(name="myapp.tasks.generate_report")
def generate_report():
    print("Report generated")
