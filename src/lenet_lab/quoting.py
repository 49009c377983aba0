"""Names as words of a command line that Hydra takes for nothing else."""

import re


def quoted(text: str) -> str:
    """Give `text` as a value of Hydra's: no list, number, interpolation or choice of several, whatever it holds."""
    from hydra.core.override_parser.types import Quote, QuotedString

    plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    return str(QuotedString(text=plain, quote=Quote.single).with_quotes())


def readable(override: str) -> bool:
    """Whether Hydra can read this word as KEY=VALUE."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True
