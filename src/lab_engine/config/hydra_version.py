"""Arguments for Hydra that 1.3 asks for and 1.4 warns of, or the other way round."""

from typing import Any

import hydra
import hydra.utils

_IS_1_3 = hydra.__version__.startswith("1.3.")
BASE: dict[str, Any] = {"version_base": "1.3"} if _IS_1_3 else {}
"""For `hydra.main` and `initialize_config_dir`."""
ANY_TARGET: dict[str, Any] = {}
"""For `instantiate`: a configuration may name any target, as docs/reliability.md says."""
if not _IS_1_3:
    ANY_TARGET["_execution_whitelist_"] = vars(hydra.utils)["UNSAFE_DISABLE_EXECUTION_CHECKS"]
