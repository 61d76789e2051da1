"""Arrays on the host and on devices: what they are, checks of them, and files of them."""
