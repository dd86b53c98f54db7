"""Tests in JupyterLab, Notebook 7 and Voilà with headless Chromium."""
