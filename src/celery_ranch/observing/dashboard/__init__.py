"""The web page: what goes on, live, and the controls, each with what it will do."""
