"""What a spreadsheet makes of the text in a CSV file."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # it takes text that begins like this for something to work out


def escape_formula(text: str) -> str:
    """Return text that is no formula to a spreadsheet: what could be one begins with an apostrophe."""
    return f"'{text}" if text.startswith(FORMULA) else text
