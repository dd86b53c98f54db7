"""The model catalog: schemas, media parameters, validation and prices. Nothing here sends a request."""
