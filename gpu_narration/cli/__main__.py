"""``python -m gpu_narration.cli``."""

import sys

from gpu_narration.cli.app import main

sys.exit(main())
