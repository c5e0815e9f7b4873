"""Text for spreadsheets."""

# What begins so is taken for a formula, and runs: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def harmless(text: str) -> str:
    """Return text as a cell that no program takes for a formula: with an apostrophe before it where it looks like one."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
