"""The tasks. Each says what it did; what a backend would do stands in your own."""

from infrastructure.celery_app import celery_app


@celery_app.task(name="afirgen_tasks.email.send_confirmation")
def send_confirmation_email(fir_id):
    print(f"email: {fir_id} confirmed")


@celery_app.task(name="afirgen_tasks.reports.generate_pdf")
def generate_pdf_report(fir_id):
    print(f"reports: {fir_id} as PDF")


@celery_app.task(name="afirgen_tasks.reports.close_case")
def close_case(fir_id):
    """Write the last report, and have its confirmation sent at the same priority."""
    print(f"reports: {fir_id} closed")
    send_confirmation_email.delay(fir_id)


@celery_app.task(name="afirgen_tasks.analytics.update_dashboard")
def update_dashboard_stats():
    print("analytics: dashboard updated")


@celery_app.task(name="afirgen_tasks.cleanup.archive_old_records")
def archive_old_records():
    print("cleanup: old records archived")


@celery_app.task(name="afirgen_tasks.index_case")
def index_case(fir_id):
    """Match no pattern: the queue is `default`."""
    print(f"default: {fir_id} indexed")
