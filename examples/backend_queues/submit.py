"""Call some tasks, the least urgent ones first."""

from infrastructure.tasks import (
    archive_old_records,
    close_case,
    index_case,
    send_confirmation_email,
    update_dashboard_stats,
)

archive_old_records.delay()
update_dashboard_stats.delay()
send_confirmation_email.apply_async(("FIR-3",), lru_key="station-5")
send_confirmation_email.apply_async(("FIR-4",), lru_key="station-5")
send_confirmation_email.apply_async(("FIR-5",), lru_key="station-7")
index_case.apply_async(("FIR-1",), priority=4)
close_case.delay("FIR-1")
update_dashboard_stats.apply_async(priority=9)
close_case.apply_async(("FIR-2",), priority=10)
