"""The engines: the rule kept in plain dicts, and in Redis for many workers."""
