"""Front ends for real: Jupyter servers and Voilà, driven by headless Chromium."""
