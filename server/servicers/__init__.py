"""Translate: request message to command, result to reply message. No SQL here, and no rules of the domain."""
