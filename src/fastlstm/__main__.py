"""``python -m fastlstm``: what this build is, and on what it runs."""

from fastlstm import show_config

show_config()
