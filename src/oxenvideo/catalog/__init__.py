"""The model catalog: schemas, documented rules, media parameters, validation and prices."""
