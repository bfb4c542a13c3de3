"""What stands around every call, on both fronts alike: access log, errors, authentication; and what one front lacks."""
