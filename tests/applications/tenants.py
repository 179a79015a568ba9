"""Whose task it is, as an application's `lru_key` setting says; no application itself."""


def whose(task_name, args, kwargs):
    """Return the tenant that a call names, or None."""
    return kwargs.get("tenant")
