"""The rule: whose task runs next, with nothing but the standard library."""
