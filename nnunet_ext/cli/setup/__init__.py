"""Commands about the installation, and the demo."""
