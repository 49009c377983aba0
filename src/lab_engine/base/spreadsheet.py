"""Text in a CSV file that a spreadsheet would take for a formula."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how text begins that a spreadsheet takes for a formula


def escape_formula(text: str) -> str:
    """Return text with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
