"""Language tags by BCP 47 (RFC 5646)."""

from functools import lru_cache

import langcodes


# Callers use a handful.
@lru_cache(maxsize=1024)
def normalize_language(tag: str) -> str:
    """Return `tag` in its canonical spelling (`de-ch` is `de-CH`).

    Raises ValueError, with a message for the caller, where a part of it is not in the IANA registry, or where it is
    written with underscores, as locales of operating systems are.
    """
    if "_" in tag or not langcodes.tag_is_valid(tag):
        raise ValueError("must be a BCP 47 language tag, such as en, de-CH or zh-Hant")
    return langcodes.standardize_tag(tag)
